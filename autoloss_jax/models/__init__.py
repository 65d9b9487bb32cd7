"""Recommenders: Flax modules from rows [B, F, R] to logits [B, C], one paper a file (`registry`
has their names).

It may import `config`, `data.hashing` and `distributed`. It knows no loss, no dataset and no
training.
"""
