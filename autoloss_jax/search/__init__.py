"""Loops around whole trainings: they call the training loop, so they live above it."""
