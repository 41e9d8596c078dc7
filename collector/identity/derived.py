"""Columns of `calls` that follow from others, for rows whose source did not state them (`calls_json`).

What cannot be known is `unknown`, never a guess: an absent status is no success.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Pool, constant, groups
from collector.operations import operations
from collector.outcomes import Line, judge
from storage.tables import LOGGED_BIT

Mask = npt.NDArray[np.bool_]
_DETAILS = ("response_details", "termination_details")


def _blank(calls: pa.RecordBatch, name: str) -> Mask:
    """Rows without a value in this column."""
    if name not in calls.schema.names:
        return np.ones(calls.num_rows, np.bool_)
    column = calls.column(name)
    if pa.types.is_dictionary(column.type):
        empty = np.array([not value for value in column.dictionary.to_pylist()] + [True], np.bool_)
        return empty[column.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return pc.fill_null(pc.equal(column, ""), True).to_numpy(zero_copy_only=False)


def _logged(calls: pa.RecordBatch, *names: str) -> Mask:
    """Rows whose line carried any of these fields."""
    if "logged" not in calls.schema.names:
        return np.zeros(calls.num_rows, np.bool_)
    bits = np.uint64(sum(1 << LOGGED_BIT[name] for name in names))
    return (calls.column("logged").fill_null(0).to_numpy(zero_copy_only=False) & bits) != 0


def _merged(calls: pa.RecordBatch, name: str, blank: Mask, derived: pa.Array) -> pa.Array:
    if blank.all():
        return derived
    stated = calls.column(name).cast(pa.string()) if name in calls.schema.names else pa.scalar("")
    return pc.if_else(pa.array(blank), derived.cast(pa.string()), stated)


def _protocol(calls: pa.RecordBatch) -> pa.Array:
    grpc = _logged(calls, "grpc_status")
    http = _logged(calls, "method", "path", "status", "authority")
    pool = Pool()
    codes = np.where(grpc, pool.code("grpc"), np.where(http, pool.code("http"), pool.code("")))
    return pool.decode(codes.astype(np.int32))


def _log_type(calls: pa.RecordBatch) -> pa.Array:
    pool = Pool()
    protocol = pool.encode(calls.column("protocol"))
    tcp = protocol == pool.code("tcp")
    return pool.decode(np.where(tcp, pool.code("connection_end"), pool.code("request")).astype(np.int32))


def _operation(calls: pa.RecordBatch) -> pa.Array:
    nothing = constant("", calls.num_rows)
    names = calls.schema.names
    method = calls.column("method") if "method" in names else nothing
    path = calls.column("path") if "path" in names else nothing
    return operations(method, path)


def _outcomes(calls: pa.RecordBatch, pool: Pool) -> dict[str, pa.Array]:
    names = calls.schema.names
    nothing = np.zeros(calls.num_rows, np.int32)

    def number(name: str) -> npt.NDArray[np.int64]:
        if name not in names:
            return nothing.astype(np.int64)
        return calls.column(name).fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False)

    texts = [pool.encode(calls.column(name)) if name in names else nothing for name in ("response_flags", *_DETAILS)]
    status = number("status")
    grpc = np.where(_logged(calls, "grpc_status"), number("grpc_status"), -1)
    tcp = pool.encode(calls.column("protocol")) == pool.code("tcp")
    has_status = (status > 0) | _logged(calls, "status")
    has_details = _logged(calls, *_DETAILS)
    first, group = groups([status, grpc + 1, *texts, tcp, has_status, has_details])
    outcomes = [
        judge(
            Line(
                int(status[row]),
                int(grpc[row]),
                *(pool.values[codes[row]] for codes in texts),
                is_connection=bool(tcp[row]),
                has_status=bool(has_status[row]),
                has_details=bool(has_details[row]),
            )
        )
        for row in first.tolist()
    ]
    return {
        name: pool.decode(pool.codes(getattr(outcome, name) for outcome in outcomes), group)
        for name in ("verdict", "denied_by", "fault")
    }


def fill_derived(calls: pa.RecordBatch) -> pa.RecordBatch:
    """`calls` with `protocol`, `log_type`, `operation`, `verdict`, `denied_by` and `fault` where they are empty.

    A verdict that is stated keeps the policy that is stated with it; a refusal without one gets that of the details.
    """
    for name, derive in (("protocol", _protocol), ("log_type", _log_type), ("operation", _operation)):
        blank = _blank(calls, name)
        if name == "operation":
            blank &= ~(_blank(calls, "method") & _blank(calls, "path")) | (name not in calls.schema.names)
        if blank.any():
            calls = _with(calls, name, _merged(calls, name, blank, derive(calls)))
    blanks = {name: _blank(calls, name) for name in ("verdict", "fault")}
    refused = _is(calls, "verdict", "denied") if "verdict" in calls.schema.names else blanks["verdict"]
    blanks["denied_by"] = (blanks["verdict"] | refused) & _blank(calls, "denied_by")
    if any(blank.any() for blank in blanks.values()):
        derived = _outcomes(calls, Pool())
        stated = {name: _merged(calls, name, blank, derived[name]) for name, blank in blanks.items()}
        for name, column in stated.items():
            calls = _with(calls, name, column)
        # A refusal that the row states itself, and not its flags or details, is the mesh's too.
        refused = blanks["fault"] & _is(calls, "verdict", "denied")
        if refused.any():
            calls = _with(calls, "fault", _merged(calls, "fault", refused, constant("mesh", calls.num_rows)))
    return calls


def _is(calls: pa.RecordBatch, name: str, value: str) -> Mask:
    pool = Pool()
    return pool.encode(calls.column(name)) == pool.code(value)


def _with(calls: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    if name in calls.schema.names:
        return calls.set_column(calls.schema.get_field_index(name), name, column)
    return calls.append_column(name, column)
