"""`policy check --each`: the verdict of every recorded call.

calls ──► a table for each group of places ──► columns of numbers ──► one table in the order of time ──► rows
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from analyzers.dependencies.model import rfc3339
from analyzers.policy.check import Check, decided
from analyzers.policy.distinct import distinct
from analyzers.policy.errors import TooMuch
from analyzers.policy.fields import name_of
from analyzers.policy.judge import Wanted
from analyzers.policy.judging import Progress, Reason, answers, intervals, prepare, reason
from analyzers.policy.nodes import ENDS, Nodes
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.sql import SAID, Verdict
from storage.engine import Engine

MAX_EACH = 5_000_000
"""Calls that are listed one by one, at most: each takes about 100 bytes of memory."""
_PAGE = 16_384
"""Rows that are objects at the same time."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One recorded call and what the policies say of it.

    Attributes:
        source, destination: nodes of the map.
        operation: None where it is not known.
        verdict: allow, deny or unknown.
        policy, rule: what decided; None where nothing that has a name did.
        missing: fields that were not logged and would have told.
        did: what the proxy did (allowed, denied, unknown).
    """

    ts: datetime
    request_id: str
    source: str
    destination: str
    operation: str | None
    verdict: str
    policy: str | None
    rule: str | None
    missing: Sequence[str]
    did: str

    def to_document(self) -> dict[str, Any]:
        """The call as JSON-ready values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"ts": rfc3339(self.ts), "missing": list(self.missing)}


@dataclass(frozen=True, slots=True)
class Each:
    """Every judged call of a window.

    Attributes:
        check: the same calls, counted.
        rows: `ts`, `request_id`, `operation`, `verdict` (what the proxy did), and `ends` and `reason`: which of
            those below; in the order of time.
        ends: source and destination.
    """

    check: Check
    rows: pa.Table
    ends: Sequence[tuple[str, str]]
    reasons: Sequence[Reason]

    def __len__(self) -> int:
        return self.rows.num_rows

    def __iter__(self) -> Iterator[Judged]:
        names = [[name_of(subject) for subject in missing] for _, _, _, missing in self.reasons]
        for batch in self.rows.to_batches(max_chunksize=_PAGE):
            columns = (batch.column(name).to_pylist() for name in _COLUMNS)
            for ts, request_id, operation, did, ends, at in zip(*columns, strict=True):
                source, destination = self.ends[ends]
                verdict, policy, rule, _ = self.reasons[at]
                call = ts, request_id, source, destination, operation or None
                yield Judged(*call, verdict, policy, rule, names[at], did)


_COLUMNS = ("ts", "request_id", "operation", "verdict", "ends", "reason")
_READ = Wanted(", ".join(("ts", "request_id", "operation", "verdict", "weight", *ENDS)))


def each(
    engine: Engine,
    policies: PolicySet | None,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> Each:
    """Judge every call of [since, until) that the policies govern.

    Args:
        policies: None = those of the store, each in the time in which it held.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        TooMuch: more calls than can be listed.
    """
    judging = prepare(engine, intervals(engine, policies, since, until))
    if judging.governed > MAX_EACH:
        raise TooMuch(f"{judging.governed:,} calls to list, expected at most {MAX_EACH:,}: narrow the window")
    read = _Read(Nodes(engine))
    parts = [read.rows(table, told) for _, table, told in answers(judging, _READ, progress)]
    rows = pa.concat_tables(parts).unify_dictionaries() if parts else _NONE
    order = [("ts", "ascending"), ("request_id", "ascending")]
    check = Check(since, until, judging.calls, decided(read.counts))
    return Each(check, rows.sort_by(order), tuple(read.ends), tuple(read.reasons))


_NONE = pa.table({name: pa.array([], pa.null()) for name in _COLUMNS})


class _Read:
    """What is read of tables of groups: numbers in place of names, which are the same for many calls."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self.ends: dict[tuple[str, str], int] = {}
        self.reasons: dict[Reason, int] = {}
        self.counts: Counter[tuple[Reason, str]] = Counter()

    def rows(self, table: pa.Table, told: Verdict) -> pa.Table:
        """The columns of `Each.rows`, in the order of the table."""
        kinds, kind = _kinds(table, ENDS)
        ends = [self.ends.setdefault(self._nodes.ends(row), len(self.ends)) for row in kinds]
        table = table.append_column("ends", pa.array(np.array(ends, np.int32)[kind]))
        kinds, kind = _kinds(table, (*SAID.split(", "), "verdict"))
        said = [reason(row, told) for row in kinds]
        weights = np.bincount(kind, weights=table.column("weight").to_numpy(), minlength=len(kinds))
        for one, row, calls in zip(said, kinds, weights, strict=True):
            self.counts[one, row["verdict"]] += round(calls)
        reasons = [self.reasons.setdefault(one, len(self.reasons)) for one in said]
        return table.append_column("reason", pa.array(np.array(reasons, np.int32)[kind])).select(_COLUMNS)


def _kinds(table: pa.Table, columns: Sequence[str]) -> tuple[Sequence[Mapping[str, Any]], Any]:
    """The different rows of some columns, and for each row the number of its kind."""
    some = table.select(columns)
    first, kind = distinct(some)
    return some.take(first).to_pylist(), kind
