"""The command line, one file a verb.

A command reads its arguments, calls the controller, and prints; it decides nothing.
"""
