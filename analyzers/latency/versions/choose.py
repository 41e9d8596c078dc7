"""Which service, and which two versions of it, are meant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from analyzers.dependencies.names import split_node

_LATE = datetime(2200, 1, 1, tzinfo=UTC)
_SHOWN = 8


class CannotCompare(Exception):
    """No such service or version, or not two of them; the text says what is known."""


def node_named(service: str, nodes: Collection[str]) -> str:
    """The node of the map that `service` names: itself, or the only one of that name.

    Raises:
        CannotCompare: there is none, or several.
    """
    if service in nodes:
        return service
    found = sorted(node for node in nodes if split_node(node)[1] == service)
    if len(found) == 1:
        return found[0]
    if found:
        raise CannotCompare(f"{service!r} is the name of {_listed(found)}: expected one of them")
    known = f"known are {_listed(sorted(nodes))}" if nodes else "no requests are stored"
    raise CannotCompare(f"{service!r}: no service that is called, {known}")


def chosen_versions(
    node: str,
    baseline: str | None,
    canary: str | None,
    calls: Mapping[str, int],
    known: Collection[str],
    first_seen: Callable[[str], datetime | None],
) -> tuple[str, str]:
    """(baseline, canary): as given; what is not given is the only other version with calls in the window.

    Args:
        calls: in the window, by version.
        known: versions that ever had calls.
        first_seen: when a version was first seen; of two that are not given, the earlier one is the baseline.

    Raises:
        CannotCompare: an unknown version, the same one twice, or not exactly two to choose from.
    """
    for version in (baseline, canary):
        if version is not None and version not in known:
            raise CannotCompare(f"{node} has no version {version!r}: expected one of {_counted(calls, known)}")
    if baseline is not None and baseline == canary:
        raise CannotCompare(f"{baseline!r} is both baseline and canary: expected two versions of {node}")
    if baseline is not None and canary is not None:
        return baseline, canary
    given = {baseline, canary} - {None}
    others = [version for version in calls if version not in given]
    wanted = 2 - len(given)
    if len(others) < wanted:
        raise CannotCompare(
            f"{node}: not enough data: has calls of {_counted(calls, calls) or 'no known version'} in the window, "
            "needs two versions"
        )
    if len(others) > wanted:
        raise CannotCompare(
            f"{node} has calls of {_counted(calls, calls)}: expected --baseline and --canary to name two of them"
        )
    if baseline is not None:
        return baseline, others[0]
    if canary is not None:
        return others[0], canary
    # Seen first at the same moment: most calls go to the baseline.
    first, second = sorted(others, key=lambda version: (first_seen(version) or _LATE, -calls[version], version))
    return first, second


def _counted(calls: Mapping[str, int], versions: Collection[str]) -> str:
    found = sorted(versions, key=lambda version: (-calls.get(version, 0), version))
    return _listed([f"{version} ({calls.get(version, 0):,} calls)" for version in found])


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_SHOWN]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
