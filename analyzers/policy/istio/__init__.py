"""Istio's AuthorizationPolicy and what it rests on, as sidecars, gateways and waypoints judge by it."""
