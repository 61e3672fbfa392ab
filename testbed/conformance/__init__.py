"""The behaviours that a lossless switch must show, as cases that are measured and judged on a bench of testers."""
