"""One training: from a config and a dataset to a finished run, and what a finished run is good
for.

It may import everything but `search`, `analysis`, `studies` and `cli`.
"""
