"""Analyzers: an engine and a time window in, typed results out."""
