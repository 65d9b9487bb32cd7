"""From raw files to batches. It knows nothing of training or of the command line."""
