"""When aliases hold that the platform gave no time for.

What has a start of its own (a Kubernetes pod) keeps it. Without one (a Consul instance, an endpoint), a name that turns
out to be somebody else's ends for the old owner and begins for the new one when it is loaded: the past stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.inventory.aliases import Alias
from collector.inventory.items import UNBOUNDED_FROM

_ADDRESSES = ("pod_ip", "service_ip", "host")
_Key = tuple[str, str, str]


def _key(alias: Alias) -> _Key:
    return alias.kind, alias.name_namespace, alias.name


def _same_owner(one: Alias, other: Alias) -> bool:
    """Whether two aliases mean one owner, of which one of them may know more."""
    if one.pod and other.pod:
        return (one.namespace, one.pod) == (other.namespace, other.pod)
    if one.service and other.service:
        return (one.namespace, one.service) == (other.namespace, other.service)
    return (one.namespace, one.workload) == (other.namespace, other.workload)


def with_validity(new: Iterable[Alias], standing: Iterable[Alias], gone: Iterable[Alias], at_us: int) -> list[Alias]:
    """The rows that a load writes.

    Args:
        new: what the load says.
        standing: what earlier loads said of addresses, each name and start once.
        gone: what an earlier reading of the same file said.
        at_us: time of the load, microseconds since 1970.
    """
    open_now = {_key(alias): alias for alias in sorted(standing, key=lambda alias: alias.valid_from)}
    rows: list[Alias] = []
    told: set[_Key] = set()
    for alias in new:
        key = _key(alias)
        told.add(key)
        before = open_now.get(key)
        if alias.kind in _ADDRESSES and alias.valid_from == UNBOUNDED_FROM and before and before.valid_from < at_us:
            if _same_owner(before, alias) and before.valid_to > at_us:
                alias = alias._replace(valid_from=before.valid_from)
            else:
                if before.valid_to > at_us:
                    rows.append(before._replace(valid_to=at_us))
                alias = alias._replace(valid_from=at_us)
        rows.append(alias)
    for alias in gone:
        key = _key(alias)
        if key in told or key not in open_now or alias.kind not in _ADDRESSES:
            continue
        before = open_now[key]
        if before.valid_from < at_us < before.valid_to and _same_owner(before, alias):
            rows.append(before._replace(valid_to=at_us))
    return rows
