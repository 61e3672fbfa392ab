"""A report as one HTML file: what a page is made of, in Python; how it is drawn stands in web/, bundled into testbed/data."""
