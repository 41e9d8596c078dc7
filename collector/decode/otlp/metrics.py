"""Metric data points of OTLP, all five kinds, to columns of `metric_points`.

What a point does not give is NaN for `min`, `max` and a histogram's `sum`, and 1970 for `start_ts`. A point flagged
"no recorded value" keeps its flag and has the value NaN. A time outside 1971..2100 makes a dead letter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.limits import Limits
from collector.decode.otlp.attributes import Attributes, children, nest
from collector.decode.otlp.records import Records, in_range, microseconds, places, too_many
from collector.decode.otlp.resources import identity_columns
from collector.decode.otlp.text import names, offsets_of

TYPES = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
TEMPORALITIES = ("unspecified", "delta", "cumulative")
_NO_VALUE = 1


def metric_points(messages: pa.ListArray, limits: Limits) -> Records:
    """Rows of `metric_points` from messages that `schema.to_arrow("metrics", ...)` read."""
    resources, per_message = children(messages)
    scopes, per_resource = children(resources.field("scopes"))
    metrics, per_scope = children(scopes.field("records"))
    message_of_metric, resource, scope = nest((per_message, per_resource, per_scope))

    tables: list[pa.Table] = []
    owners: list[npt.NDArray[np.int32]] = []
    wrong: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for number, kind in enumerate(TYPES):
        data = metrics.field(kind)
        points, counts = children(data.field("points"))
        if not len(points):
            continue
        owner = np.repeat(np.arange(len(metrics), dtype=np.int32), counts)
        attributes = Attributes(points.field("attributes"))
        start, ts = points.field("start_time_unix_nano").to_numpy(), points.field("time_unix_nano").to_numpy()
        columns = {
            "ts": microseconds(ts),
            "start_ts": microseconds(np.where(in_range(start), start, np.uint64(0))),
            "type": pa.DictionaryArray.from_arrays(np.full(len(points), number, np.int32), list(TYPES)),
            "attributes": attributes.maps(),
            "flags": points.field("flags"),
            **_of_metric(data, owner),
            **_VALUES[kind](points),
        }
        tables.append(pa.table(columns))
        owners.append(owner)
        for reason, rows in {
            "time_unix_nano is outside 1971..2100": ~in_range(ts),
            **too_many(attributes, limits),
        }.items():
            wrong.setdefault(reason, []).append(rows)
    if not tables:
        return Records("metrics", np.zeros(0, np.int32), {}, {}, np.zeros(0, np.int32))

    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")  # each metric is of one kind, so its points stay together
    owner = owner[order]
    together = pa.concat_tables(tables, promote_options="permissive").combine_chunks().take(pa.array(order))
    of = pa.array(owner)
    columns = {name: _flat(together.column(name)) for name in together.column_names}
    for name, empty in _EMPTY.items():
        if name in columns and columns[name].null_count:
            columns[name] = pc.coalesce(columns[name], empty)
    columns |= {
        "name": names(metrics.field("name")).take(of),
        "unit": names(metrics.field("unit")).take(of),
        "scope": names(scopes.field("scope").field("name")).take(pa.array(scope[owner])),
        **identity_columns(resources.field("resource"), resource[owner]),
    }
    return Records(
        "metrics",
        message_of_metric[owner],
        columns,
        {reason: np.concatenate(rows)[order] for reason, rows in wrong.items()},
        places(message_of_metric)[owner],
        places(owner),
    )


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _of_metric(data: pa.StructArray, owner: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
    """temporality and monotonic, which stand on the metric, for each of its points."""
    code = np.zeros(len(owner), np.int32)
    columns: dict[str, pa.Array] = {}
    given = {data.type.field(i).name for i in range(data.type.num_fields)}
    if "temporality" in given:
        code = data.field("temporality").to_numpy(zero_copy_only=False)
        code = np.where((code > 0) & (code < len(TEMPORALITIES)), code, 0).astype(np.int32)[owner]
    columns["temporality"] = pa.DictionaryArray.from_arrays(code, list(TEMPORALITIES))
    if "monotonic" in given:
        columns["monotonic"] = data.field("monotonic").fill_null(False).cast(pa.uint8()).take(pa.array(owner))
    return columns


def _number(points: pa.StructArray) -> dict[str, pa.Array]:
    as_int = points.field("as_int").cast(pa.float64(), safe=False)
    value = pc.coalesce(points.field("as_double"), as_int, pa.scalar(float("nan")))
    absent = (points.field("flags").to_numpy() & _NO_VALUE) != 0
    return {"value": pc.if_else(pa.array(absent), float("nan"), value) if absent.any() else value}


def _sums(points: pa.StructArray, *names: str) -> dict[str, pa.Array]:
    nan = pa.scalar(float("nan"))
    return {"count": points.field("count"), **{name: pc.coalesce(points.field(name), nan) for name in names}}


def _lists(column: pa.ListArray) -> pa.ListArray:
    """The same lists in the type of the table: ptars declares their items as never null."""
    values, counts = children(column)
    return pa.ListArray.from_arrays(pa.array(offsets_of(counts), pa.int32()), values)


def _histogram(points: pa.StructArray) -> dict[str, pa.Array]:
    return {
        **_sums(points, "sum", "min", "max"),
        "bounds": _lists(points.field("bounds")),
        "bucket_counts": _lists(points.field("bucket_counts")),
    }


def _exponential(points: pa.StructArray) -> dict[str, pa.Array]:
    columns = _sums(points, "sum", "min", "max")
    columns |= {"scale": points.field("scale"), "zero_count": points.field("zero_count")}
    for side in ("positive", "negative"):
        buckets = points.field(side)
        columns[f"{side}_offset"] = buckets.field("offset").fill_null(0)
        columns[f"{side}_counts"] = _lists(buckets.field("counts"))
    return columns


def _summary(points: pa.StructArray) -> dict[str, pa.Array]:
    quantiles, counts = children(points.field("quantiles"))
    offsets = pa.array(offsets_of(counts), pa.int32())
    return {
        **_sums(points, "sum"),
        "quantiles": pa.ListArray.from_arrays(offsets, quantiles.field("quantile")),
        "quantile_values": pa.ListArray.from_arrays(offsets, quantiles.field("value")),
    }


_VALUES = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}

# What a kind of point has no use for: the columns' defaults.
_EMPTY = {
    "monotonic": pa.scalar(0, pa.uint8()),
    "value": pa.scalar(0.0),
    "count": pa.scalar(0, pa.uint64()),
    "sum": pa.scalar(0.0),
    "min": pa.scalar(0.0),
    "max": pa.scalar(0.0),
    "bounds": pa.scalar([], pa.list_(pa.float64())),
    "bucket_counts": pa.scalar([], pa.list_(pa.uint64())),
    "scale": pa.scalar(0, pa.int32()),
    "zero_count": pa.scalar(0, pa.uint64()),
    "positive_offset": pa.scalar(0, pa.int32()),
    "positive_counts": pa.scalar([], pa.list_(pa.uint64())),
    "negative_offset": pa.scalar(0, pa.int32()),
    "negative_counts": pa.scalar([], pa.list_(pa.uint64())),
    "quantiles": pa.scalar([], pa.list_(pa.float64())),
    "quantile_values": pa.scalar([], pa.list_(pa.float64())),
}
