"""A traffic generator of the Open Traffic Generator API whose ports are the hosts of a lab."""
