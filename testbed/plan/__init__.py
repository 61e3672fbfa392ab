"""From lab and experiment to the plan and the workload that the data plane reads. Pure."""
