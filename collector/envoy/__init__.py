"""From the operators of a proxy's line to `calls`."""

from collector.envoy.calls import to_calls

__all__ = ["to_calls"]
