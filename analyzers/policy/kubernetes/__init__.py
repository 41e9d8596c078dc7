"""Kubernetes' NetworkPolicy, as a network plugin that follows the API's description enforces it."""
