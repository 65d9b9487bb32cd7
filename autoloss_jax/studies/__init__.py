"""Experiments as grids of trainings: those of the paper's Section 3, and those that decide
whether a search is worth having.
"""
