"""What is sent: collectives as schedules of send, recv, reduce and calc. Imports nothing from testbed."""
