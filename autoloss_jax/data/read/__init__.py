"""Raw files to columns of words: which files there are, what their columns are called, which
rows are bad.
"""
