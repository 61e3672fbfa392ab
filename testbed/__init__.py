"""A network emulation testbed controller for lossless fabrics."""
