"""What became of a connection, as the `error` of a ztunnel line tells it.

Sources: istio/ztunnel, src/proxy.rs (Error, AuthorizationRejectionError), and the CONNECT answers of its inbound side:
401 is a refusal by policy, 503 a destination that it could not reach.

ztunnel writes no response flags; `flags` is what Envoy would have written, so that failures count alike whoever saw
them. A refusal has none, as with Envoy.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from collector.outcomes import Fault, Verdict

LONGEST = 4096
"""Characters of an error that are looked at."""


class Failure(NamedTuple):
    """What an error means. `denied_by` is `NAMESPACE/NAME` of the policy, `none` where no ALLOW policy matched."""

    verdict: Verdict = "unknown"
    denied_by: str = ""
    fault: Fault = "unknown"
    flags: str = "UC"


_DENIED_BY = re.compile(r"explicitly denied by: (?P<policy>[^\s;]+)")
_REFUSED = ("policy rejection", "policy change", "none allowed", "http status: 401")

# In order: the words that say most about the cause first.
_CAUSES: tuple[tuple[tuple[str, ...], Fault, str], ...] = (
    (("client disconnected",), "caller", "DC"),
    (("destination disconnected",), "callee", "UC"),
    (("no healthy upstream",), "callee", "UH"),
    (("http status: 5",), "callee", "UF"),
    (("networkpolicy", "timed out", "deadline has elapsed"), "network", "UF"),
    (("tls error", "identity error", "invalid source", "handshake", "certificate"), "mesh", "UF"),
    (
        (
            "unknown destination",
            "unknown waypoint",
            "unknown source",
            "no valid routing destination",
            "no gateway address",
            "no service for",
            "cannot resolve port",
            "has no ip addresses",
            "recursive call",
            "unsupported feature",
            "http status: 4",
            "invalid connect",
            "expected method connect",
        ),
        "mesh",
        "NR",
    ),
    (("no ip addresses", "no a/aaaa", "dns"), "network", "DF"),
    (("drain", "streams maxed", "already connecting"), "mesh", "UO"),
    (("connection failed", "connection refused", "unreachable", "no route to host"), "network", "UF"),
)


def judge(error: str, *, inbound: bool) -> Failure:
    """What the text of a line's `error` means on the destination's side (`inbound`) or the source's. Never raises."""
    if match := _DENIED_BY.search(error[:LONGEST]):
        return Failure("denied", match["policy"], "mesh", "")
    text = error[:LONGEST].lower()
    if any(words in text for words in _REFUSED):
        return Failure("denied", "none" if "none allowed" in text else "", "mesh", "")
    for words, fault, flags in _CAUSES:
        if any(word in text for word in words):
            # Behind the tunnel there is only the workload itself: it did not listen.
            return Failure(
                "unknown", "", "callee" if inbound and fault == "network" and flags == "UF" else fault, flags
            )
    return Failure()
