"""Google Pub/Sub's messages as JSON: what a push subscription posts, and what `gcloud pubsub subscriptions pull` shows.

{"message": {"data": BASE64, "attributes": {...}, "messageId": ...}, "subscription": ...} ──► the data
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Set

import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.limits import Limits
from collector.decode.nested import opened_object

KEYS: Set[str] = frozenset({"subscription", "ackId"})
"""Keys of which one stands beside `message`."""


def opened_data(messages: pa.StringArray, limits: Limits) -> pa.BinaryArray:
    """The data of each message, given as JSON text; a message without any, or whose data is no base64, as it is."""
    found = opened_object(messages, frozenset({"data"}), limits).get("data")
    given = messages.cast(pa.binary())
    if found is None:
        return given
    data = [None if text is None else _decoded(text) for text in found.text.to_pylist()]
    return pc.coalesce(pa.array(data, pa.binary()), given)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
