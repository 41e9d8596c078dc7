"""Names of operations, once their services are known: rules first, then what was learnt.

    complete(calls) ──► name_operations(calls, book) ──► edge_ids

Those of spans are named in `span_names.py` by the same function.

Works once for each distinct pair of service and operation. A batch can never add more than `max_templates` templates to
a service, whatever its paths are: what goes beyond is generalized on the spot, and by the learner for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, Pool, groups
from collector.operations.learnt import generalize
from collector.operations.rules import Rule, concerns, first_fit

MAX_VALUES = 50
MAX_TEMPLATES = 200
Service = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class OperationBook:
    """What is known of operations at one version. `OperationBook()` knows nothing."""

    version: int = 0
    rules: tuple[Rule, ...] = ()
    learnt: Mapping[Service, frozenset[str]] = field(default_factory=dict[Service, frozenset[str]])
    """Prefixes below which every word is `{id}`."""
    max_values: int = MAX_VALUES
    """Distinct words in one place of a service's paths that are still taken for names."""
    max_templates: int = MAX_TEMPLATES
    """Templates of one service."""

    @property
    def state(self) -> str:
        """The version as bounds record it."""
        return str(self.version) if self.version else ""


def name_operations(calls: pa.RecordBatch, book: OperationBook) -> pa.RecordBatch:
    """Calls with `operation` as `book` names it.

    Args:
        calls: completed ones; `operation` is that of the fixed rule (`METHOD TEMPLATE`), or what a source stated.
        book: rules and what was learnt of each service.

    Pure. Never raises for any content of the columns.
    """
    pool = Pool()
    namespace, service, workload = (
        pool.encode(calls.column(f"destination_{part}")) for part in ("namespace", "service", "workload")
    )
    service = np.where(service != 0, service, workload).astype(np.int32)
    first, owner = groups([namespace, service])
    owners = [(pool.values[namespace[row]], pool.values[service[row]]) for row in first.tolist()]
    operation = pool.encode(calls.column("operation"))
    path = calls.column("path") if "path" in calls.schema.names else None
    named = name_by_book(owners, owner, operation, path, pool, book)
    place = calls.schema.get_field_index("operation")
    return calls.set_column(place, "operation", pool.decode(named))


def name_by_book(
    owners: list[Service], owner: Codes, operation: Codes, path: pa.Array | None, pool: Pool, book: OperationBook
) -> Codes:
    """Codes of every row's operation by the book's rules, else by what it knows of the service.

    Args:
        owners: services.
        owner: each row's, as its place in `owners`.
        operation: by the fixed rule, as codes of `pool`.
        path: as recorded, for the rules; None = no row has one.
        pool: takes the new names.
        book: rules and what was learnt.
    """
    ruled = _by_rules(path, owners, owner, operation, pool, book.rules)
    named = np.where(ruled >= 0, ruled, _generalized(owners, owner, operation, ruled < 0, pool, book))
    return named.astype(np.int32)


def _method(operation: str) -> str:
    method, space, _ = operation.partition(" ")
    return method if space or not operation.startswith("/") else ""


def _by_rules(
    path: pa.Array | None,
    owners: list[Service],
    owner: Codes,
    operation: Codes,
    pool: Pool,
    rules: tuple[Rule, ...],
) -> npt.NDArray[np.int64]:
    """Codes of operations that a rule names; -1 = no rule does."""
    named = np.full(len(operation), -1, np.int64)
    if not rules or path is None:
        return named
    texts = path.cast(pa.string()) if pa.types.is_dictionary(path.type) else path
    for place, (namespace, service) in enumerate(owners):
        own = [rule for rule in rules if concerns(rule, namespace, service)]
        rows = np.flatnonzero(owner == place) if own else np.empty(0, np.int64)
        if not len(rows):
            continue
        paths = texts.take(pa.array(rows)).fill_null("").dictionary_encode()
        fit = first_fit(paths.dictionary, own)[paths.indices.to_numpy()]
        rows, fit = rows[fit >= 0], fit[fit >= 0]
        if not len(rows):
            continue
        heads, which = groups([operation[rows], fit])
        names = [
            f"{_method(pool.values[operation[rows[head]]])} {own[fit[head]].template}".strip()
            for head in heads.tolist()
        ]
        named[rows] = pool.codes(names)[which]
    return named


def _generalized(
    owners: list[Service],
    owner: Codes,
    operation: Codes,
    wanted: npt.NDArray[np.bool_],
    pool: Pool,
    book: OperationBook,
) -> npt.NDArray[np.int64]:
    """Codes of every row's operation with what is known of its service."""
    named = operation.astype(np.int64)
    rows = np.flatnonzero(wanted & (operation != 0))
    if not len(rows):
        return named
    heads, which = groups([owner[rows], operation[rows]])
    owner_of, code_of = owner[rows][heads], operation[rows][heads]
    texts = pa.array([pool.values[code] for code in code_of.tolist()], pa.string())
    path = pc.replace_substring_regex(texts, "^[^/ ]+ /", "/")
    is_path = pc.starts_with(path, "/").to_numpy(zero_copy_only=False)
    pairs = np.flatnonzero(is_path)
    if not len(pairs):
        return named
    paths = path.take(pa.array(pairs))
    known = {place: book.learnt[name] for place, name in enumerate(owners) if name in book.learnt}
    found = generalize(
        owner_of[pairs], paths, known, max_values=book.max_values, max_templates=book.max_templates
    ).paths
    changed = pc.not_equal(found, paths).to_numpy(zero_copy_only=False)
    if not changed.any():
        return named
    codes = code_of.copy()
    before = texts.take(pa.array(pairs)).to_pylist()
    after = found.to_pylist()
    renamed = [f"{_method(before[at])} {after[at]}".strip() for at in np.flatnonzero(changed).tolist()]
    codes[pairs[changed]] = pool.codes(renamed)
    named[rows] = codes[which]
    return named
