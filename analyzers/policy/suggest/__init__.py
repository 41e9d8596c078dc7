"""Policies that let pass what was seen to be in order, and nothing else."""
