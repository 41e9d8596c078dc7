"""Linkerd's Servers, authorizations, authentications and inbound routes, as the proxy of the callee judges by them."""
