"""From a data set's rows to batches: transform, store, prepare, load."""
