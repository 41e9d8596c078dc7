"""What policies say of calls, as people read it."""
