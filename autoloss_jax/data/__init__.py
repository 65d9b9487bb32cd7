"""From raw files to batches: schema, sources, prepare, store, host; and a made-up dataset, synthetic."""
