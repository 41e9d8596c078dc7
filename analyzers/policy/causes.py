"""Why a proxy did other than the policies have it: what is likely, from what the window shows.

where the call arrived, who told of it, when policies changed ──► Cause ──► a sentence
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Literal

from analyzers.policy.places import COLUMNS, Found

Cause = Literal[
    "no_sidecar",
    "no_waypoint",
    "network",
    "recent_change",
    "permissive",
    "unheard",
    "waypoint",
    "some_proxies",
    "not_pushed",
    "other_filter",
]
Hint = Literal["no_sidecar", "no_waypoint", "network", "unheard", "waypoint", ""]
"""A cause that the place tells; empty = none."""

LATE = timedelta(minutes=15)
"""So long around a change of the policies an episode is taken for its consequence."""

SENTENCES: Mapping[Cause, str] = {
    "no_sidecar": "the callee has no sidecar (says the inventory), so nobody there looks at the mesh's policies",
    "no_waypoint": "the policies ask about requests, the callee's ztunnel knows connections only, there is no waypoint",
    "network": "the cluster's network plugin does not enforce NetworkPolicies, or not for these pods",
    "recent_change": "the policies were changed at {change}: proxies got them later than they were stored, or earlier",
    "permissive": "mutual TLS is PERMISSIVE in force there, or off: STRICT has not come to the proxy",
    "unheard": "only the caller's proxy tells of it: the callee has no proxy, does not log, or leaves the port out",
    "waypoint": "the waypoint does not hold the policies",
    "some_proxies": "some of the callee's proxies do not hold the policies: others, or at other times, refused by them",
    "not_pushed": "the callee's proxies do not hold the policies: in the window none of them refused anything by these",
    "other_filter": "its proxy holds other policies than the store, or another filter refused (rate limit, authorizer)",
}
_REPORTER = COLUMNS.index("reporter")


def hint(found: Found, asks_of_requests: bool) -> Hint:
    """What a place tells of the cause.

    Args:
        asks_of_requests: whether its policies ask about more than connections, and there is no waypoint.
    """
    if found.place.judge == "ztunnel":
        return "no_waypoint" if asks_of_requests else ""
    if found.place.judge == "waypoint":
        return "waypoint"
    return "unheard" if found.columns[_REPORTER] == "source" else ""


def likely(
    seen: Literal["let_through", "refused", "plaintext"],
    hints: Counter[Hint],
    span: tuple[datetime, datetime],
    changes: Set[datetime],
    enforced: bool,
) -> tuple[Cause, str]:
    """The likeliest cause of an episode, and a sentence about it.

    Args:
        hints: of its calls, by calls.
        span: its begin and end.
        changes: when stored policies began to hold.
        enforced: whether the callee refused something by the policies in the window.
    """
    cause = _cause(seen, hints, bool(near := _near(span, changes)), enforced)
    return cause, SENTENCES[cause].format(change=f"{near[-1]:%Y-%m-%d %H:%M:%S}" if near else "")


def _cause(
    seen: Literal["let_through", "refused", "plaintext"], hints: Counter[Hint], changed: bool, enforced: bool
) -> Cause:
    told = hints.most_common(1)[0][0] if hints else ""
    if seen != "refused" and told in ("no_sidecar", "no_waypoint", "network"):
        return told
    if changed:
        return "recent_change"
    if seen == "refused":
        return "other_filter"
    if seen == "plaintext":
        return "permissive"
    return told or ("some_proxies" if enforced else "not_pushed")


def _near(span: tuple[datetime, datetime], changes: Set[datetime]) -> Sequence[datetime]:
    """Changes after which the episode was over soon, or before which it began late: it lasted from or until then."""
    first, last = span
    return sorted(
        one for one in changes if (one <= first and last <= one + LATE) or (one - LATE <= first and last <= one)
    )
