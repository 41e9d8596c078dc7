"""The ingest loop: batches of a source become rows of the store, each exactly once."""
