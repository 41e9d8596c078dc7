"""Operations of spans that state none: from their names and paths, in the same three layers as those of calls.

    Decoder.decode ──► name_spans(spans, book) ──► conform

A span with a route (`http.route`, `url.template`, Micrometer's `uri`) or a procedure (`rpc.method`) has stated its
operation, and keeps it. Of the others many carry the raw path in their names: `GET /orders/1234` is `GET /orders/{id}`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, Pool, groups
from collector.operations.fixed import METHODS, operations, template_paths
from collector.operations.names import OperationBook, name_by_book

_PATH_NAME = r"(?s)^(?:(?i:HTTP) )?(?:(?P<verb>[^\s/]+) )?(?P<path>(?:[A-Za-z][A-Za-z0-9+.-]*://|/).*)$"
"""`GET /a`, `http get /a`, `/a`, `GET http://host/a`."""


def name_spans(spans: pa.RecordBatch, book: OperationBook) -> pa.RecordBatch:
    """Spans with `operation` wherever they have a name or a path; what they state themselves stays.

    Args:
        spans: as decoders give them; `operation` is what the span states, or `""`.
        book: rules and what was learnt of each service.

    Pure. Never raises for any content of the columns.
    """
    pool = Pool()
    stated = pool.encode(_column(spans, "operation"))
    rows = np.flatnonzero(stated == 0)
    if not len(rows):
        return spans
    silent = spans if len(rows) == spans.num_rows else spans.take(pa.array(rows))
    operation = _by_name(silent, pool)
    owners, owner = _served_by(silent, pool)
    named = stated.copy()
    named[rows] = name_by_book(owners, owner, operation, _column(silent, "path"), pool, book)
    column = pool.decode(named)
    place = spans.schema.get_field_index("operation")
    return spans.append_column("operation", column) if place < 0 else spans.set_column(place, "operation", column)


def _column(spans: pa.RecordBatch, name: str) -> pa.Array:
    return spans.column(name) if name in spans.schema.names else pa.nulls(spans.num_rows, pa.string())


def _by_name(spans: pa.RecordBatch, pool: Pool) -> Codes:
    """The fixed rule: a path in the name is a template; a name that is only a method takes the template of the path."""
    name, method = pool.encode(_column(spans, "name")), pool.encode(_column(spans, "method"))
    is_grpc = pool.test(pool.encode(_column(spans, "protocol")), lambda protocol: protocol == "grpc")
    found = name.copy()
    heads, which = groups([name, method, is_grpc])
    texts = pa.array([pool.values[code] for code in name[heads].tolist()], pa.string())
    methods = [pool.values[code] for code in method[heads].tolist()]
    # The path of a gRPC call is the name of its procedure: nothing in it is a value.
    plain = ~is_grpc[heads]

    parts = pc.extract_regex(texts, _PATH_NAME)
    is_path = plain & parts.is_valid().to_numpy(zero_copy_only=False)
    at = np.flatnonzero(is_path)
    if len(at):
        templates = template_paths(pc.struct_field(parts, "path").take(pa.array(at))).to_pylist()
        said = pc.struct_field(parts, "verb").take(pa.array(at)).to_pylist()
        verbs = [_verb(verb or "") or methods[place].upper() for verb, place in zip(said, at.tolist(), strict=True)]
        codes = found[heads]
        codes[at] = pool.codes(f"{verb} {template}".strip() for verb, template in zip(verbs, templates, strict=True))
        found = np.where(is_path[which], codes[which], found)

    only_verb = plain & np.array(
        [_is_verb(text, known) for text, known in zip(texts.to_pylist(), methods, strict=True)], np.bool_
    )
    bare = np.flatnonzero(only_verb[which])
    if len(bare):
        verbs = pc.utf8_upper(pc.replace_substring_regex(texts, r"(?i)^HTTP ", ""))
        verbs = pc.if_else(pc.equal(verbs, ""), pc.utf8_upper(pa.array(methods, pa.string())), verbs)
        path = _column(spans, "path").take(pa.array(bare))
        found[bare] = pool.encode(operations(verbs.take(pa.array(which[bare])), path))
    return found


def _is_verb(name: str, method: str) -> bool:
    """Whether a name says no more than the method: `GET`, `get` or `http get`. `search` alone may be anything."""
    head, space, verb = name.upper().rpartition(" ")
    if space:
        return head == "HTTP" and verb in METHODS
    return bool(method) and verb in ("", method.upper())


def _verb(said: str) -> str:
    """A registered method in capitals; any other word as it is."""
    return said.upper() if said.upper() in METHODS else said


def _served_by(spans: pa.RecordBatch, pool: Pool) -> tuple[list[tuple[str, str]], Codes]:
    """Whose operation each row's is, by number: of the side that serves it, as the edges of its trace name it."""
    part = {
        name: pool.encode(_column(spans, name))
        for name in ("kind", "namespace", "service", "workload", "peer_namespace", "peer_service", "peer_host")
    }
    calls = pool.test(part["kind"], lambda kind: kind in ("client", "producer"))
    there = np.where(part["peer_service"] != 0, part["peer_service"], part["peer_host"])
    here = np.where(part["service"] != 0, part["service"], part["workload"])
    service = np.where(calls, there, here)
    namespace = np.where(calls, np.where(part["peer_service"] != 0, part["peer_namespace"], 0), part["namespace"])
    first, owner = groups([namespace, service])
    return [(pool.values[namespace[row]], pool.values[service[row]]) for row in first.tolist()], owner
