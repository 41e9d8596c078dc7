"""Findings that are one story: grouped by who, whom and when, kept as incidents that people open and close."""
