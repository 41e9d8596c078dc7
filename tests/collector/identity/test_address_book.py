"""Who had an address when: the index against a plain search, and addresses that move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.address_book import AddressBook, Owner
from collector.identity.socket_addresses import ip_bytes
from tests.collector.identity.rows import AT, Row, aliases, book

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return AT + timedelta(minutes=minutes)


def microseconds(when: datetime) -> int:
    return (when - EPOCH) // timedelta(microseconds=1)


def find(found: AddressBook, ip: str, when: datetime, cluster: str = "") -> Owner | None:
    addresses = pa.array([ip_bytes(ip)], pa.binary(16))
    index = found.find(addresses, np.array([microseconds(when)]), [cluster], np.array([0]))[0]
    return found.owners[index] if index >= 0 else None


def test_an_address_that_moves_leaves_the_past_alone() -> None:
    first: Row = {"name": "10.0.0.1", "namespace": "a", "pod": "old", "valid_from": at(0)}
    second: Row = {"name": "10.0.0.1", "namespace": "b", "pod": "new", "valid_from": at(10), "loaded_at": at(11)}
    found = book(second, first)
    assert find(found, "10.0.0.1", at(-1)) is None
    assert [find(found, "10.0.0.1", at(m)).pod for m in (0, 9, 10, 99)] == ["old", "old", "new", "new"]  # type: ignore[union-attr]
    assert find(found, "10.0.0.2", at(5)) is None


def test_an_ended_pod_has_no_address() -> None:
    found = book({"name": "10.0.0.1", "pod": "job", "valid_from": at(0), "valid_to": at(5)})
    assert find(found, "10.0.0.1", at(4)) is not None
    assert find(found, "10.0.0.1", at(5)) is None


def test_a_later_load_replaces_and_the_inventory_outranks_telemetry() -> None:
    base: Row = {"name": "10.0.0.1", "valid_from": at(0)}
    found = book(
        {**base, "service": "new", "loaded_at": at(2)},
        {**base, "service": "old", "loaded_at": at(1)},
        {**base, "service": "heard", "loaded_at": at(9), "evidence": "telemetry"},
    )
    owner = find(found, "10.0.0.1", at(3))
    assert owner is not None and owner.service == "new"


def test_clusters_may_use_the_same_addresses() -> None:
    found = book(
        {"name": "10.0.0.1", "cluster": "east", "service": "e"},
        {"name": "10.0.0.1", "cluster": "west", "service": "w"},
        {"name": "10.0.0.2", "cluster": "west", "service": "only"},
    )
    assert find(found, "10.0.0.1", AT, "east").service == "e"  # type: ignore[union-attr]
    assert find(found, "10.0.0.1", AT, "west").service == "w"  # type: ignore[union-attr]
    assert find(found, "10.0.0.1", AT) is None
    assert find(found, "10.0.0.2", AT, "east").service == "only"  # type: ignore[union-attr]


def test_the_version_follows_the_content() -> None:
    one: Row = {"name": "10.0.0.1", "service": "a"}
    two: Row = {"name": "10.0.0.2", "service": "b"}
    assert book(one, two).version == book(two, one).version
    assert book(one, two).version != book(one).version
    assert book(one).version != book({**one, "service": "c"}).version


def test_nonsense_addresses_belong_to_nobody() -> None:
    found = book({"name": "no address", "service": "a"}, {"name": "::", "service": "b"}, {"name": "", "service": "c"})
    assert found.owners == ()
    assert find(AddressBook(), "10.0.0.1", AT) is None
    assert AddressBook.from_aliases(aliases([])).owners == ()


CLAIMS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]),
        "cluster": st.sampled_from(["", "east", "west"]),
        "pod": st.sampled_from("abcdef"),
        "valid_from": st.integers(0, 20).map(at),
        "valid_to": st.integers(0, 25).map(at),
        "loaded_at": st.integers(0, 50).map(at),
        "evidence": st.sampled_from(["inventory", "telemetry"]),
    }
)


def slow_find(rows: list[Row], cluster: str, ip: str, when: datetime) -> str | None:
    """What `find` means: of the claims on the address in this cluster, the last that began, if it has not ended."""
    valid = [row for row in rows if row["name"] == ip and row["valid_from"] < row["valid_to"]]
    clusters = {row["cluster"] for row in valid}
    if cluster not in clusters:
        if "" not in clusters and len(clusters) != 1:
            return None
        cluster = "" if "" in clusters else clusters.pop()
    begun = [row for row in valid if row["cluster"] == cluster and row["valid_from"] <= when]
    if not begun:
        return None
    last = max(begun, key=lambda row: (row["valid_from"], row["evidence"] == "inventory", row["loaded_at"]))
    return last["pod"] if when < last["valid_to"] else None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        CLAIMS, max_size=12, unique_by=lambda row: (row["name"], row["cluster"], row["valid_from"], row["evidence"])
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "10.9.9.9", "::"]),
            st.integers(-1, 26).map(at),
            st.sampled_from(["", "east", "west", "north"]),
        ),
        max_size=12,
    ),
)
def test_the_index_equals_a_plain_search(rows: list[Row], asked: list[tuple[str, datetime, str]]) -> None:
    found = book(*rows)
    clusters: list[str] = sorted({cluster for _, _, cluster in asked})
    indices: Any = found.find(
        pa.array([ip_bytes(ip) for ip, _, _ in asked], pa.binary(16)),
        np.array([microseconds(when) for _, when, _ in asked], np.int64),
        clusters,
        np.array([clusters.index(cluster) for _, _, cluster in asked], np.int64),
    )
    pods = [found.owners[index].pod if index >= 0 else None for index in indices]
    assert pods == [slow_find(rows, cluster, ip, when) for ip, when, cluster in asked]
