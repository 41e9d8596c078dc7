"""What Istio's proxies tell each other of their workloads, as a log has it: `downstream_peer` and `upstream_peer`.

Source: istio/proxy, extensions/common/metadata_object.h; releases before 1.24 wrote capitals (`WORKLOAD_NAME`).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple, cast

from collector.identity.principals import MAX_LENGTH

LONGEST = 16_384
"""Characters of an object that is read; labels make most of it."""
_KEYS: tuple[tuple[str, ...], ...] = (
    ("cluster", "CLUSTER_ID"),
    ("namespace", "NAMESPACE"),
    ("workload", "WORKLOAD_NAME"),
    ("service",),
    ("revision", "version"),
    ("name", "NAME"),
    ("identity",),
)


class Peer(NamedTuple):
    """A workload as its proxy tells of it; `""` where it does not. `pod` is the instance's name."""

    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    service: str = ""
    version: str = ""
    pod: str = ""
    identity: str = ""


NO_PEER = Peer()


@lru_cache(maxsize=4096)
def parse_peer(text: str) -> Peer:
    """The peer of a JSON object; `NO_PEER` for anything else. Never raises."""
    if not text.startswith("{") or len(text) > LONGEST:
        return NO_PEER
    try:
        record: Any = json.loads(text)
    except (ValueError, RecursionError):
        return NO_PEER
    return Peer(*(_first(cast("dict[str, Any]", record), keys) for keys in _KEYS))


def _first(record: dict[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = record.get(key)
        if isinstance(value, str) and 0 < len(value) <= MAX_LENGTH:
            return value.encode("utf-8", "backslashreplace").decode()
    return ""
