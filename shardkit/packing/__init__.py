"""Annotated clips into shards."""
