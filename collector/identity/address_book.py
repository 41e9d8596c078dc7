"""Who had which address when: the alias table's `pod_ip` and `service_ip` rows as an index for whole columns.

An address belongs to one pod at a time. Where two claim it, the later start ends the earlier one: a load of the
inventory states what exists, and a pod that has left is only noticed by the one that took its address. The past stays
as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.identity.socket_addresses import UNKNOWN, ip_bytes
from storage.tables import ALIASES

Int64s = npt.NDArray[np.int64]
_COLUMNS = ALIASES.names
_POD, _SERVICE, _HOST = "pod_ip", "service_ip", "host"


class Owner(NamedTuple):
    """Who has an address. Unset parts are `""`."""

    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    service: str = ""
    service_account: str = ""
    pod: str = ""
    version: str = ""
    is_gateway: bool = False
    is_pod: bool = True
    """Otherwise a service's virtual address."""


class _Claim(NamedTuple):
    address: bytes
    start: int
    end: int
    rank: tuple[bool, int]
    """Of two claims that start together the inventory's, then the later loaded, stands."""
    owner: Owner


@dataclass(frozen=True, slots=True, eq=False)
class AddressBook:
    """Immutable index of addresses, services and hosts. Build with `from_aliases`; `AddressBook()` knows nobody."""

    version: str = "empty"
    """Changes when the content does: batches name the book that they were completed with."""
    owners: tuple[Owner, ...] = ()
    services: frozenset[tuple[str, str]] = frozenset()
    """(namespace, service) of every known service."""
    hosts: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Host name, lower case → (namespace, service)."""
    _places: Mapping[tuple[str, bytes], int] = field(default_factory=dict[tuple[str, bytes], int])
    _starts: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    _keys: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    _ends: Int64s = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def from_aliases(cls, aliases: pa.Table) -> AddressBook:
        """A book of the rows of table `aliases` (any order, replaced rows included).

        Raises:
            KeyError: when a column of `aliases` is missing.
        """
        rows = _rows(aliases)
        digest = hashlib.sha256()
        for row in sorted(tuple(str(row[name]) for name in _COLUMNS) for row in rows):
            digest.update("\x1f".join(row).encode() + b"\x1e")
        claims = [_claim(row) for row in rows if row["kind"] in (_POD, _SERVICE)]
        services = frozenset(
            (row["namespace"], row["service"])
            for row in rows
            if row["kind"] in ("service", _SERVICE) and row["namespace"] and row["service"]
        )
        hosts = {row["name"].lower(): (row["namespace"], row["service"]) for row in rows if row["kind"] == _HOST}
        return cls._index(claims, services, hosts, digest.hexdigest()[:16])

    @classmethod
    def _index(
        cls,
        claims: Iterable[_Claim],
        services: frozenset[tuple[str, str]],
        hosts: Mapping[str, tuple[str, str]],
        version: str,
    ) -> AddressBook:
        by_place: dict[tuple[str, bytes], list[_Claim]] = {}
        for claim in claims:
            if claim.address != UNKNOWN and claim.start < claim.end:
                by_place.setdefault((claim.owner.cluster, claim.address), []).append(claim)
        owners: list[Owner] = []
        intervals: list[tuple[int, int, int]] = []
        places: dict[tuple[str, bytes], int] = {}
        clusters: dict[bytes, list[int]] = {}
        for place, (key, rivals) in enumerate(sorted(by_place.items())):
            places[key] = place
            clusters.setdefault(key[1], []).append(place)
            standing = {claim.start: claim for claim in sorted(rivals, key=lambda claim: claim.rank)}
            ordered = [standing[start] for start in sorted(standing)]
            for claim, after in zip(ordered, [*ordered[1:], None], strict=True):
                intervals.append((place, claim.start, min(claim.end, after.start) if after else claim.end))
                owners.append(claim.owner)
        for address, known in clusters.items():
            # Clusters may use the same addresses: without a cluster, only an address of one of them is anybody's.
            if len(known) == 1:
                places.setdefault(("", address), known[0])
        place_of, start_of, end_of = np.array(intervals, np.int64).reshape(-1, 3).T
        starts = np.unique(start_of)
        return cls(
            version=version,
            owners=tuple(owners),
            services=services,
            hosts=hosts,
            _places=places,
            _starts=starts,
            _keys=place_of * (len(starts) + 1) + np.searchsorted(starts, start_of) + 1,
            _ends=end_of.copy(),
        )

    def find(self, addresses: pa.Array, ts_us: Int64s, clusters: list[str], cluster_of: npt.NDArray[Any]) -> Int64s:
        """Each row's owner, as an index into `owners`; -1 = nobody known.

        Args:
            addresses: `binary(16)`.
            ts_us: when, in microseconds since 1970.
            clusters: names of clusters, `""` = not known.
            cluster_of: each row's place in `clusters`.

        An address of the row's own cluster comes first, then one of an unnamed cluster, then one that only a single
        cluster has.
        """
        found = np.full(len(addresses), -1, np.int64)
        if not self.owners or not len(addresses):
            return found
        encoded = addresses.dictionary_encode()
        known = encoded.dictionary.to_pylist()
        elsewhere = [self._places.get(("", address), -1) for address in known]
        table = np.array(
            [
                [self._places.get((cluster, address), other) for address, other in zip(known, elsewhere, strict=True)]
                + [-1]
                for cluster in clusters
            ],
            np.int64,
        )
        place = table[cluster_of, encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        rows = np.flatnonzero(place >= 0)
        if not len(rows):
            return found
        place, when = place[rows], ts_us[rows]
        # Times are ranked among all starts, so that place and time fit one sorted key.
        key = place * (len(self._starts) + 1) + np.searchsorted(self._starts, when, side="right")
        entry = np.searchsorted(self._keys, key, side="right") - 1
        before = np.maximum(entry, 0)
        holds = (entry >= 0) & (self._keys[before] // (len(self._starts) + 1) == place) & (when < self._ends[before])
        found[rows[holds]] = entry[holds]
        return found


def _rows(aliases: pa.Table) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for name in _COLUMNS:
        column = aliases.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        columns[name] = pc.fill_null(column, 0).to_pylist() if pa.types.is_integer(column.type) else column.to_pylist()
    return [dict(zip(_COLUMNS, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _claim(row: Mapping[str, Any]) -> _Claim:
    owner = Owner(
        cluster=row["cluster"],
        namespace=row["namespace"],
        workload=row["workload"],
        service=row["service"],
        service_account=row["service_account"],
        pod=row["pod"],
        version=row["version"],
        is_gateway=bool(row["is_gateway"]),
        is_pod=row["kind"] == _POD,
    )
    rank = (row["evidence"] == "inventory", row["loaded_at"])
    return _Claim(ip_bytes(row["name"]), row["valid_from"], row["valid_to"], rank, owner)
