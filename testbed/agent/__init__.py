"""The process that owns labs and their data planes."""
