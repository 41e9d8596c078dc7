"""Envoy's JSON access log → operators: Istio's 24 keys, Consul's and OSM's, and any `json_format` with common names.

An operator is found under the keys of `envoy_keys.KEYS`, each in the spellings of `spellings`. Any other key goes into
`attributes` with its text (objects and arrays as JSON), unless it is null; those of `envoy_keys.ASKED` then as `""`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.envelope import Lines, metadata_of
from collector.decode.envoy_keys import ASKED, KEYS, OPERATOR_OF, spellings
from collector.decode.envoy_lines import build
from collector.decode.json_shapes import Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.operators import CARRIED_BIT, OPERATOR_NAMES
from collector.decode.record_labels import with_labels
from collector.decode.spans import Mask
from collector.envoy import to_calls
from collector.envoy.attributes import added

_MARKS = ("istio_policy_status", "time_to_first_byte")
"""Attributes that tell of the mesh."""

KNOWN: Set[str] = frozenset(OPERATOR_OF) | {"kubernetes", *_MARKS}
"""Keys that are read as something else than an attribute. `kubernetes` is what Fluent Bit merges into parsed lines."""

# Names that other programs' logs hardly have, `status` and `duration` not among them.
_DISTINCTIVE: Mapping[str, str] = {
    spelling: key
    for key in (
        "response_code",
        "response_flags",
        "response_code_details",
        "connection_termination_details",
        "upstream_cluster",
        "upstream_host",
        "upstream_service_time",
        "x_envoy_upstream_service_time",
        "upstream_local_address",
        "downstream_local_address",
        "downstream_remote_address",
        "downstream_direct_remote_address",
        "downstream_peer_uri_san",
        "downstream_peer_san",
        "downstream_tls_version",
        "requested_server_name",
        "route_name",
    )
    for spelling in spellings(key)
}
_TIMES = frozenset(spelling for key in KEYS["start_time"] for spelling in spellings(key))


_MESHES: tuple[tuple[str, frozenset[str], frozenset[str]], ...] = (
    ("envoy_gateway", frozenset({"x-envoy-origin-path"}), frozenset()),
    ("emissary", frozenset({"istio_policy_status", "upstream_cluster"}), frozenset({"route_name"})),
    ("osm", frozenset({"time_to_first_byte", "upstream_cluster"}), frozenset({"downstream_remote_address"})),
)
"""Meshes whose default format has keys that no other's has (Istio once wrote `istio_policy_status`, with the route's
name): the mesh, keys that the line has, keys that it has not."""
_HOST = frozenset(spellings("host"))


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a proxy's line: it has a time and two things that only a proxy writes."""
    return not keys.isdisjoint(_TIMES) and len({_DISTINCTIVE[key] for key in keys & _DISTINCTIVE.keys()}) >= 2


def operators(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """Operator rows of the lines of one shape, and rows of `lines` to refuse with the reason."""
    del limits
    rows = len(shape.rows)
    found: dict[str, list[tuple[int, str]]] = {}
    for key in shape.columns:
        if key in OPERATOR_OF:
            operator, preference = OPERATOR_OF[key]
            found.setdefault(operator, []).append((preference, key))
    text: dict[str, pa.StringArray] = {}
    bits = np.zeros(rows, np.uint64)
    for operator in OPERATOR_NAMES:
        if operator not in found:
            continue
        bit = np.uint64(1 << CARRIED_BIT[operator])
        choices = sorted(found[operator])
        if operator == "authority" and len(choices) > 1:
            # Log shippers add a `host` of their own: it counts only where no other key names the authority.
            choices = [choice for choice in choices if choice[1] not in _HOST] or choices
        sources = [shape.columns[key] for _, key in choices]
        for source in sources:
            bits |= bit if source.present is None else np.where(source.present, bit, np.uint64(0))
        text[operator] = sources[0].text if len(sources) == 1 else _first_present([s.text for s in sources])
    if "start_time" not in text:
        text["start_time"] = pa.nulls(rows, pa.string())
    own = lines.take(shape.rows)
    given, bits, attributes = with_labels(text, bits, _attributes(shape), own)
    constants: dict[str, pa.Array] = {
        "carried": pa.array(bits),
        "attributes": attributes,
        "mesh": _meshes(shape, rows),
        "raw": own.text,
        **own.metadata,
        **metadata_of(shape),
        "_message": own.message,
        "_record": own.record,
    }
    batch, refused = build(given, constants, rows)
    return batch, [(int(shape.rows[row]), reason) for row, reason in refused.items()]


def _attributes(shape: Shape) -> pa.MapArray:
    marks = [(name, shape.columns[name].text) for name in _MARKS if name in shape.columns]
    return added(shape.extra, marks) if marks else shape.extra


def _meshes(shape: Shape, rows: int) -> pa.StringArray:
    """The mesh that a line's keys alone tell, or null."""
    found = np.full(rows, None, object)
    for mesh, has, lacks in _MESHES:
        if has <= shape.columns.keys():
            fits = np.logical_and.reduce([_has(shape, key, rows) for key in has])
            for key in lacks & shape.columns.keys():
                fits &= ~_has(shape, key, rows)
            found[fits] = mesh
    return pa.array(found, pa.string())


def _has(shape: Shape, key: str, rows: int) -> Mask:
    present = shape.columns[key].present
    return np.ones(rows, np.bool_) if present is None else present


def _first_present(texts: list[pa.StringArray]) -> pa.StringArray:
    """The first text that is neither null nor one of the ways to say absent; the last one where all are absent."""
    result = texts[-1]
    for text in reversed(texts[:-1]):
        absent = pc.is_in(text, value_set=pa.array(["", "-", None], pa.string()))
        result = pc.if_else(absent, result, text)
    return result


FORMAT = JsonFormat(
    "envoy_json",
    known=KNOWN,
    recognises=recognises,
    read=operators,
    finish=partial(to_calls, mesh="envoy"),
    telling=ASKED,
)
