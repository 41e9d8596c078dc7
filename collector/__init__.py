"""Sources, decoders, identity and the ingest loop: wire bytes in, Arrow batches out."""
