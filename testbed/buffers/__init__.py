"""How deep a buffer must be and when it must say stop: headroom, thresholds, credits, deadlocks. Pure."""
