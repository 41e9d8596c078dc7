"""Sets of policies in the store, each with the time from which it holds.

PolicySet ──► policies ──► the sets of a window, each with the interval in which it held
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pyarrow as pa

from analyzers.dependencies.model import rfc3339
from analyzers.dependencies.windows import EARLIEST, LATEST
from analyzers.policy.policy_set import MAX_DOCUMENTS, SETTINGS, PolicySet, read_set
from storage.conform import conform
from storage.engine import Engine
from storage.sql import load
from storage.tables import POLICIES

MAX_SETS = 100_000
_GIVEN = ("engine", "kind", "namespace", "name", "file", "line", "document")


@dataclass(frozen=True, slots=True)
class Version:
    """A set of policies in the store: it held in [valid_from, valid_to)."""

    set_id: str
    valid_from: datetime
    valid_to: datetime
    loaded_at: datetime
    files: Sequence[str]

    @property
    def key(self) -> tuple[datetime, str]:
        """What its rows in the store share."""
        return self.valid_from, self.set_id

    def to_document(self) -> dict[str, Any]:
        """The set as JSON-ready values."""
        return {
            "set": self.set_id,
            "valid_from": rfc3339(self.valid_from) if self.valid_from > EARLIEST else None,
            "valid_to": rfc3339(self.valid_to) if self.valid_to < LATEST else None,
            "loaded_at": rfc3339(self.loaded_at),
            "files": list(self.files),
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did: which set holds from when on, and whether it is another one than held there before."""

    set_id: str
    valid_from: datetime
    documents: int
    changed: bool


def load_set(engine: Engine, policies: PolicySet, valid_from: datetime, loaded_at: datetime) -> Loaded:
    """Store a set that holds from `valid_from` until the next one does; the same set again changes nothing.

    Raises:
        storage.errors.StorageError: nothing holds then that did not before; loading again is harmless.
    """
    set_id = _id(policies)
    before = version_at(versions(engine), valid_from)
    done = Loaded(set_id, valid_from, len(policies.documents), before is None or before.set_id != set_id)
    if not done.changed:
        return replace(done, valid_from=before.valid_from if before else valid_from)
    files = "\n".join(dict.fromkeys(document.file for document in policies.documents))
    rows = [("", "", "", "", files, 0, "")]
    rows += [
        (one.engine, one.kind, one.namespace, one.name, one.file, one.line, one.text) for one in policies.documents
    ]
    given = {name: list(column) for name, column in zip(_GIVEN, zip(*rows, strict=True), strict=True)}
    given["place"] = list(range(len(rows)))
    constants = {"valid_from": valid_from, "set_id": set_id, "loaded_at": loaded_at}
    batch = conform(POLICIES, pa.RecordBatch.from_pydict(given), **constants)
    # The set's own row comes last: until it is there, the set is not.
    if len(rows) > 1:
        engine.insert(POLICIES.name, batch.slice(1))
    engine.insert(POLICIES.name, batch.slice(0, 1))
    return done


def _id(policies: PolicySet) -> str:
    digest = hashlib.sha256()
    for document in policies.documents:
        for text in (*document.key, document.text):
            digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()[:32]


def versions(engine: Engine) -> Sequence[Version]:
    """All sets in the order in which they hold.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rows = engine.query(load("policy/stored_sets").text, {"row_limit": MAX_SETS}).to_pylist()
    found = [
        Version(row["set_id"], row["valid_from"], LATEST, row["loaded_at"], row["files"].splitlines()) for row in rows
    ]
    return [*(replace(one, valid_to=later.valid_from) for one, later in pairwise(found)), *found[-1:]]


def version_at(found: Sequence[Version], time: datetime) -> Version | None:
    """The set that holds at `time`; None before the first one."""
    return next((one for one in reversed(found) if one.valid_from <= time), None)


def sizes(engine: Engine) -> Mapping[tuple[datetime, str], int]:
    """Documents of each set, by `Version.key`; empty sets are left out.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rows = engine.query(load("policy/set_sizes").text, {"row_limit": MAX_SETS}).to_pylist()
    return {(row["valid_from"], row["set_id"]): row["documents"] for row in rows}


def stored_set(engine: Engine, version: Version) -> PolicySet:
    """The documents of a stored set, read again.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: this version of eastwatch does not take what another one did.
    """
    return _read(_rows(engine, version))


def stored_settings(engine: Engine, version: Version) -> PolicySet:
    """The MeshSettings of a stored set alone, as of all its documents they take long to read.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: this version of eastwatch does not take what another one did.
    """
    return _read([row for row in _rows(engine, version) if row["engine"] == SETTINGS])


def _rows(engine: Engine, version: Version) -> Sequence[Mapping[str, Any]]:
    parameters = {"valid_from": version.valid_from, "set_id": version.set_id, "row_limit": MAX_DOCUMENTS}
    return engine.query(load("policy/stored_documents").text, parameters).to_pylist()


def _read(rows: Sequence[Mapping[str, Any]]) -> PolicySet:
    documents = [
        replace(found, namespace=row["namespace"], file=row["file"], line=row["line"])
        for row in rows
        for found in read_set({row["file"]: row["document"].encode()}, row["namespace"] or "default").documents
    ]
    return PolicySet(tuple(documents))
