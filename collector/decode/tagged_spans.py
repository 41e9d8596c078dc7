"""Spans whose attributes are tags: what Zipkin's and Jaeger's formats have in common beside OTLP.

Kind, status, error, scope and, for senders that put their resource among the tags, identity are tags here; the rest is
read from them as from OTLP's attributes (`otlp.traces.told_by_attributes`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.otlp.attributes import Attributes, first_text
from collector.decode.otlp.resources import IDENTITY
from collector.decode.otlp.text import map_distinct, names
from collector.decode.otlp.traces import KINDS, STATUSES, WANTED, told_by_attributes

SPAN_KIND = ("span.kind",)
ERROR = ("error",)
STATUS_CODE = ("otel.status_code",)
STATUS_MESSAGE = ("otel.status_description",)
COMPONENT = ("component",)
SCOPE = ("otel.scope.name", "otel.library.name")
_KEYS = (SPAN_KIND, ERROR, STATUS_CODE, STATUS_MESSAGE, COMPONENT, SCOPE, *IDENTITY.values())
_WANTED = WANTED | {key.encode() for keys in _KEYS for key in keys}

_KIND_OF = {name: code for code, name in enumerate(KINDS)}
_STATUS_OF = {name: code for code, name in enumerate(STATUSES)}
_ERROR = _STATUS_OF["error"]
_MESSAGING = (_KIND_OF["producer"], _KIND_OF["consumer"])

NO_NAME = "OTLPResourceNoServiceName"
"""What the Collector writes for a service whose resource has no name."""


def kind_codes(text: pa.StringArray) -> npt.NDArray[np.int32]:
    """Kinds of any case as indices into `KINDS`; 0 for null and for what is none."""
    codes = map_distinct(text, lambda kind: _KIND_OF.get(kind.lower(), 0), pa.int32())
    return codes.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32)


def tagged_columns(
    attributes: Attributes, columns: Mapping[str, pa.Array], kind: npt.NDArray[np.int32] | None = None
) -> dict[str, pa.Array]:
    """All columns of `spans` that tags tell.

    A span errs when it has an `error` tag that does not say false (its text is the message), or by its status code.

    Args:
        attributes: the tags of each span, not yet indexed.
        columns: any identity columns that the format gives outside of the tags; those stay as they are.
        kind: indices into `KINDS`; None = the tag `span.kind` says.
    """
    attributes.index(_WANTED)
    said = kind_codes(attributes.pick(*SPAN_KIND).text())
    kind = said if kind is None else np.where(kind == 0, said, kind).astype(np.int32)
    found: dict[str, pa.Array] = {"kind": pa.DictionaryArray.from_arrays(kind, list(KINDS))}
    for column, keys in IDENTITY.items():
        if (picked := attributes.pick(*keys)).any:
            given = [columns[column].cast(pa.string())] if column in columns else []
            found[column] = names(first_text(*given, picked.text()))
    found |= told_by_attributes(attributes, kind, {**columns, **found})

    error, code = attributes.pick(*ERROR), attributes.pick(*STATUS_CODE)
    status = map_distinct(code.text(), _status, pa.int32()).fill_null(0).to_numpy(zero_copy_only=False).copy()
    failed = ~map_distinct(error.text(), _says_no, pa.bool_()).fill_null(True).to_numpy(zero_copy_only=False)
    status[failed] = _ERROR
    found["status"] = pa.DictionaryArray.from_arrays(status.astype(np.int32), list(STATUSES))
    found["error"] = pa.array((status == _ERROR).astype(np.uint8))
    told = map_distinct(
        error.text(), lambda text: "" if _says_no(text) or text.lower() == "true" else text, pa.string()
    )
    found["status_message"] = first_text(attributes.pick(*STATUS_MESSAGE).text(), told)
    found["scope"] = names(attributes.pick(*SCOPE).text())
    is_grpc = map_distinct(attributes.pick(*COMPONENT).text(), lambda text: text.lower() == "grpc", pa.bool_())
    found["protocol"] = _protocol(found["protocol"], np.isin(kind, _MESSAGING), is_grpc.fill_null(False))
    return found


def _status(text: str) -> int:
    return _STATUS_OF.get(text.lower().removeprefix("status_code_"), 0)


def _says_no(text: str) -> bool:
    return text.lower() in ("false", "0")


def _protocol(protocol: pa.DictionaryArray, messaging: npt.NDArray[np.bool_], grpc: pa.BooleanArray) -> pa.Array:
    """The protocol; where nothing tells it, that of producers and consumers, or of OpenTracing's component."""
    text = protocol.cast(pa.string())
    silent = pc.equal(text, "")
    text = pc.if_else(pc.and_(silent, pa.array(messaging)), "messaging", text)
    return pc.if_else(pc.and_(silent, grpc), "grpc", text).dictionary_encode()
