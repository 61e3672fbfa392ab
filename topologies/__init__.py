"""Labs: YAML files, and generators that make them. Imports nothing from testbed."""
