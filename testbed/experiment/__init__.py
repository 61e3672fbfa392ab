"""What runs on a lab: sections of an experiment, overrides, expectations, axes of a sweep. Pure."""
