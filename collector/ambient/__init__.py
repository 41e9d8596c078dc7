"""From the connections that ztunnel logs to `calls`."""

from collector.ambient.calls import to_calls

__all__ = ["to_calls"]
