"""The experiments of the paper's Section 3, and those that decide whether a search of the loss is worth having."""
