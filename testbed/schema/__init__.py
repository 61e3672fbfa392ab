"""YAML that remembers its lines, and quantities as field types."""
