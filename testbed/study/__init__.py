"""Many runs: sweeps, campaigns, random cases, worker processes."""
