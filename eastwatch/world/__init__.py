"""A simulated mesh that writes what real ones write: access-log lines, OTLP spans and metrics, a Kubernetes inventory.

    shop (a topology) ──► cluster (pods) ──► traffic, walk (happenings) ──► access_log, spans, metrics ──► messages
                                                            └──► truth

It knows nothing of the pipeline that reads it.
"""

from __future__ import annotations

from eastwatch.world.shipping import Message
from eastwatch.world.world import ACCESS_LOGS, METRICS, START, TOPICS, TRACES, World

__all__ = ["ACCESS_LOGS", "METRICS", "START", "TOPICS", "TRACES", "Message", "World"]
