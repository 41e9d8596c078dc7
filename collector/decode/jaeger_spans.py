"""What Jaeger's spans have in every encoding: references, from which come parent and links, and processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.otlp.attributes import key_values
from collector.decode.otlp.resources import identity_columns
from collector.decode.otlp.text import EMPTY, joined
from collector.decode.tagged_spans import NO_NAME

Counts = npt.NDArray[np.int64]


def parents_and_links(
    trace_ids: pa.StringArray, counts: Counts, traces: pa.StringArray, spans: pa.StringArray, follows: pa.BooleanArray
) -> dict[str, pa.Array]:
    """`parent_span_id` and `links` of spans.

    The parent is the first reference of the same trace that is a `CHILD_OF`, else the first that is a `FOLLOWS_FROM`.
    The other references are links.

    Args:
        trace_ids: of each span.
        counts: how many references each span has.
        traces: trace id of each reference, `""` where it is none.
        spans: its span id.
        follows: whether it is a `FOLLOWS_FROM`.
    """
    rows = len(trace_ids)
    owner = np.repeat(np.arange(rows), counts)
    there = pc.and_(pc.not_equal(traces, ""), pc.not_equal(spans, ""))
    own = pc.and_(there, pc.equal(traces, trace_ids.take(pa.array(owner)))).to_numpy(zero_copy_only=False)
    candidates = np.flatnonzero(own)
    order = np.lexsort((candidates, follows.to_numpy(zero_copy_only=False)[candidates], owner[candidates]))
    candidates = candidates[order]
    owners, first = np.unique(owner[candidates], return_index=True)
    parent = np.full(rows, -1, np.int64)
    parent[owners] = candidates[first]
    parents = spans.take(pa.array(parent, mask=parent < 0)).fill_null("")

    others = there.to_numpy(zero_copy_only=False).copy()
    others[parent[parent >= 0]] = False
    if not others.any():
        return {"parent_span_id": parents}
    kept = pa.array(others)
    items = pc.binary_join_element_wise(
        *('{"trace_id":"', traces.filter(kept), '","span_id":"', spans.filter(kept), '","attributes":{}}', "")
    )
    linked = np.bincount(owner[others], minlength=rows)
    links = pc.if_else(pa.array(linked > 0), joined(items, linked, "[", "]"), EMPTY)
    return {"parent_span_id": parents, "links": links}


def process_columns(
    processes: Sequence[Sequence[tuple[str, str]]], of_row: npt.NDArray[np.int32]
) -> dict[str, pa.Array]:
    """Identity columns and `resource` of spans.

    Args:
        processes: the pairs of each distinct process, its name under `service.name`.
        of_row: the process of each span.
    """
    counts = np.fromiter(map(len, processes), np.int64, len(processes))
    pairs = [pair for process in processes for pair in process]
    keys, values = (pa.array([pair[part] for pair in pairs], pa.string()) for part in (0, 1))
    resources = pa.StructArray.from_arrays([key_values(counts, keys, string=values)], ["attributes"])
    return identity_columns(resources, of_row)


def named(service: object) -> list[tuple[str, str]]:
    """A process's name as the first pair of its resource; none where it has none."""
    return [("service.name", service)] if isinstance(service, str) and service not in ("", NO_NAME) else []
