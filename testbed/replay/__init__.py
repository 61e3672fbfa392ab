"""Traces of applications: read from files of other tools, matched as MPI matches messages, and expanded into jobs."""
