"""Consul's service intentions, as the proxies of its service mesh judge by them."""
