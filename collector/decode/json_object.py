"""One JSON object, read alone: the way of lines that no template expresses, and what refuses hostile ones."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

import msgspec

from collector.decode.json_template import Kind
from collector.decode.limits import Limits

_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _visible_in_json(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no UTF-8 become backslash escapes, themselves escaped, so that the JSON stays valid."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"\\\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("eastwatch.json", _visible_in_json)


def read_object(line: bytes, limits: Limits) -> dict[str, tuple[str | None, Kind]]:
    """One JSON object: each key with its value's text and kind.

    Raises:
        ValueError: one line that says what is wrong and what was expected.
    """
    if len(line) > limits.record_bytes:
        raise ValueError(f"record of {len(line)} bytes, the limit is {limits.record_bytes}")
    if not line.startswith(b"{"):
        raise ValueError(f"not a JSON object: it begins with {line[:20]!r}, expected '{{'")
    valid = line.decode("utf-8", "eastwatch.json")
    if _depth(valid) > limits.depth:
        raise ValueError(f"JSON nested deeper than {limits.depth} levels")
    try:
        fields = _RAW_OBJECT.decode(valid)
        record = {name: _value(bytes(raw)) for name, raw in fields.items()}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        record = _lenient(valid)
    if len(record) > limits.keys:
        raise ValueError(f"JSON object with {len(record)} keys, the limit is {limits.keys}")
    for name, (value, _) in record.items():
        if value is not None and len(value) > limits.value_bytes // 4 and len(value.encode()) > limits.value_bytes:
            raise ValueError(f"key {name[:80]!r} holds {len(value.encode())} bytes, the limit is {limits.value_bytes}")
    return record


def _value(raw: bytes) -> tuple[str | None, Kind]:
    first = raw[:1]
    if first == b'"':
        return msgspec.json.decode(raw, type=str), "string"
    if first in (b"{", b"["):
        return raw.decode(), "nested"
    if first == b"n":
        return None, "null"
    return raw.decode(), "bool" if first in (b"t", b"f") else "number"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _lenient(line: str) -> dict[str, tuple[str | None, Kind]]:
    """For lines that strict JSON refuses but whose content is clear: raw control characters, lone surrogates."""
    try:
        fields: Any = json.loads(
            line, strict=False, parse_constant=_no_constant, parse_int=_Number, parse_float=_Number
        )
    except RecursionError:
        raise ValueError("JSON nested too deep") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {_one_line(str(error))}") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    record: dict[str, tuple[str | None, Kind]] = {}
    for name, value in fields.items():
        record[_encodable(name)] = _lenient_value(value)
    return record


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _lenient_value(value: Any) -> tuple[str | None, Kind]:
    if value is None:
        return None, "null"
    if isinstance(value, bool):
        return ("true" if value else "false"), "bool"
    if isinstance(value, _Number):
        return str(value), "number"
    if isinstance(value, str):
        return _encodable(value), "string"
    return json.dumps(value, separators=(",", ":")), "nested"


def _encodable(text: str) -> str:
    """Lone surrogates cannot be stored as UTF-8: they become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


# A whole string, or the rest of the text from a quote that nothing closes.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def _depth(text: str) -> int:
    """Levels of nesting. Brackets inside strings may add to it only where strings hold more than the limit of them."""
    if text.count("{") + text.count("[") <= 8:
        return 1
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        if bracket in "{[":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest
