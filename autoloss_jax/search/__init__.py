"""Searches that train more than once: they find what a method needs before its own training
begins.
"""
