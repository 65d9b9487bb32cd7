"""Faults, tried by the thousand: what `python -m tests.faults` does, and CI a part of.

Every kind is a row of `kinds.KINDS`. A trial makes one fault from a seed, and says what was wrong
with what followed, or nothing.
"""
