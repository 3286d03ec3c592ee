"""Shards into batches: data set, engine, workers, loader."""
