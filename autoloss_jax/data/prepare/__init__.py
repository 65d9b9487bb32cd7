"""Columns of words to a prepared dataset: split, vocabulary, ids. It may import `data.read`."""
