"""Parameters for `{name:Type}` holes, in the one text form that every engine takes.

A statement and Python values go in; `{name: text}` comes out, ready for chDB's `params`, for `param_NAME` of the HTTP
form and for the native protocol. The text is ClickHouse's escaped (tab separated) form: in it a bare `\\N` would be
NULL and a raw tab ends the value, so nothing of a value is passed on unescaped, and text that a mesh logged comes back
unchanged. Integers are checked here because the engine wraps them silently (300 as UInt8 is read as 44).
"""

from __future__ import annotations

import ipaddress
import math
import operator
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

from storage.errors import BadParameter
from storage.type_names import elements, split

_TOKEN = re.compile(
    r"""
      '(?:[^'\\]|\\.|'')*'            # string
    | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*`
    | --[^\n]* | \#[ !][^\n]* | /\*.*?\*/
    | \{\s*(?P<name>[A-Za-z_]\w*)\s*:\s*(?P<type>[A-Za-z][^{}]*?)\s*\}
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"}
)
_INTEGER = re.compile(r"(U?)Int(8|16|32|64|128|256)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def holes(sql: str) -> Mapping[str, str]:
    """The `{name:Type}` holes of `sql` outside strings, quoted names and comments: name → ClickHouse type.

    Raises:
        BadParameter: one name stands with two types.
    """
    found: dict[str, str] = {}
    for match in _TOKEN.finditer(sql):
        name = match["name"]
        if name is None:
            continue
        kind = " ".join(match["type"].split())
        if found.setdefault(name, kind) != kind:
            raise BadParameter(f"parameter {name!r} stands as {found[name]} and as {kind} in one statement")
    return MappingProxyType(found)


def bind(sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Texts for every hole of `sql`, in escaped form.

    Values by type: String `str` or `bytes`; integers `int` (also NumPy's); floats; Bool; Date `date`; DateTime and
    DateTime64 timezone-aware `datetime`; IPv4, IPv6 address objects, their text, or packed bytes; UUID; Array any
    iterable; Map a mapping or pairs; Tuple a sequence; Nullable also None; Identifier a plain name.

    Raises:
        BadParameter: a hole without value, a value without hole, or a value that does not fit its type.
    """
    declared = holes(sql)
    given = parameters or {}
    if missing := [name for name in declared if name not in given]:
        raise BadParameter(f"no value for parameter {', '.join(missing)} of the statement")
    if unused := [name for name in given if name not in declared]:
        raise BadParameter(f"the statement has no parameter {', '.join(unused)}, only {', '.join(declared) or 'none'}")
    bound: dict[str, str] = {}
    for name, kind in declared.items():
        try:
            bound[name] = encode(kind, given[name])
        except (ValueError, TypeError, OverflowError, KeyError) as error:
            raise BadParameter(
                f"parameter {name}: {_shown(given[name])} does not fit {kind}: {_reason(error)}"
            ) from None
    return bound


def encode(kind: str, value: Any) -> str:
    """`value` as the escaped text of one parameter of ClickHouse type `kind`.

    Raises:
        ValueError, TypeError: it does not fit.
    """
    return _encoder(kind)[0](value)


Encode = Callable[[Any], str]


@lru_cache(maxsize=1024)
def _encoder(kind: str) -> tuple[Encode, Encode]:
    """Two encoders of a type: for the top level, and inside a container (where text is quoted)."""
    name, arguments = split(kind)
    if name == "LowCardinality":
        return _encoder(arguments[0])
    if name == "SimpleAggregateFunction":
        return _encoder(arguments[1])
    if name == "Nullable":
        plain, quoted = _encoder(arguments[0])
        return (
            lambda value: "\\N" if value is None else plain(value),
            lambda value: "NULL" if value is None else quoted(value),
        )
    if name == "Array":
        inner = _encoder(arguments[0])[1]
        return _same(lambda value: "[" + ",".join(inner(item) for item in _items(value)) + "]")
    if name == "Map":
        key, item = _encoder(arguments[0])[1], _encoder(arguments[1])[1]
        return _same(lambda value: "{" + ",".join(f"{key(k)}:{item(v)}" for k, v in _pairs(value)) + "}")
    if name == "Tuple":
        inners = [_encoder(element)[1] for _, element in elements(kind)]
        return _same(lambda value: _tuple(inners, value))
    if match := _INTEGER.fullmatch(name):
        bits = int(match[2])
        low, high = (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return _same(lambda value: _integer(value, low, high))
    if name == "FixedString":
        length = int(arguments[0])
        return _quotable(lambda value: _fixed(value, length))
    if name == "DateTime64":
        digits = int(arguments[0])
        _require_utc(arguments[1:])
        return _quotable(lambda value: _time(value, digits))
    if name == "DateTime":
        _require_utc(arguments)
        return _quotable(_second)
    if name in _SAME:
        return _same(_SAME[name])
    if name in _QUOTABLE:
        return _quotable(_QUOTABLE[name])
    raise ValueError("this type cannot be a parameter here")


def _same(encode: Encode) -> tuple[Encode, Encode]:
    return encode, encode


def _quotable(encode: Encode) -> tuple[Encode, Encode]:
    return encode, lambda value: f"'{encode(value)}'"


def _require_utc(zone: tuple[str, ...]) -> None:
    if zone and zone != ("'UTC'",):
        raise ValueError("only 'UTC' is used as a time zone")


def _string(value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("it holds a lone surrogate; pass the bytes instead") from None
        return value.translate(_ESCAPES)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "".join(
            chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in bytes(value)
        )
    raise TypeError("text or bytes expected")


def _fixed(value: Any, length: int) -> str:
    data = value.encode() if isinstance(value, str) else bytes(value)
    if len(data) > length:
        raise ValueError(f"at most {length} bytes expected, not {len(data)}")
    return _string(data)


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_]\w{0,127}", value, re.ASCII):
        raise ValueError("a plain name expected")
    return value


def _integer(value: Any, low: int, high: int) -> str:
    if isinstance(value, bool):
        raise TypeError("a whole number expected, not a truth value")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError("a whole number expected") from None
    if not low <= number <= high:
        raise ValueError(f"expected {low}..{high}")
    return str(number)


def _float(value: Any) -> str:
    if isinstance(value, (bool, str, bytes)):
        raise TypeError("a number expected")
    number = float(value)
    if math.isnan(number):
        return "nan"
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return repr(number)


def _bool(value: Any) -> str:
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise TypeError("True or False expected")
    return "true" if value else "false"


def _date(value: Any) -> str:
    if isinstance(value, datetime) or not isinstance(value, date):
        raise TypeError("a date expected")
    if not date(1970, 1, 1) <= value <= date(2149, 6, 6):
        raise ValueError("expected 1970-01-01..2149-06-06")
    return value.isoformat()


def _utc(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError("a datetime expected")
    if value.tzinfo is None:
        raise ValueError("a datetime with a time zone expected")
    return value.astimezone(UTC)


def _second(value: Any) -> str:
    moment = _utc(value)
    if not 0 <= (moment - _EPOCH).total_seconds() < 2**32:
        raise ValueError("expected 1970-01-01..2106-02-07")
    if moment.microsecond:
        raise ValueError("whole seconds expected: fractions would be cut")
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _time(value: Any, digits: int) -> str:
    moment = _utc(value)
    if not 1900 <= moment.year <= 2261:
        raise ValueError("expected 1900..2261")
    fraction = f"{moment.microsecond:06d}"
    if digits < 6 and fraction[digits:].strip("0"):
        raise ValueError(f"at most {digits} digits of a second expected: the rest would be cut")
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{fraction[:digits]}" if digits else "")


def _ipv4(value: Any) -> str:
    return str(ipaddress.IPv4Address(value))


def _ipv6(value: Any) -> str:
    address = ipaddress.ip_address(value)
    return (
        f"::ffff:{address}" if isinstance(address, ipaddress.IPv4Address) else str(ipaddress.IPv6Address(int(address)))
    )


def _uuid(value: Any) -> str:
    return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))


def _decimal(value: Any) -> str:
    return format(Decimal(value), "f")


def _items(value: Any) -> Any:
    if isinstance(value, (str, bytes, Mapping)):
        raise TypeError("a list expected")
    return value.tolist() if hasattr(value, "tolist") else value


def _pairs(value: Any) -> Any:
    return cast("Mapping[Any, Any]", value).items() if isinstance(value, Mapping) else value


def _tuple(inners: list[Encode], value: Any) -> str:
    items = list(_items(value))
    if len(items) != len(inners):
        raise ValueError(f"{len(inners)} values expected, not {len(items)}")
    return "(" + ",".join(inner(item) for inner, item in zip(inners, items, strict=True)) + ")"


_SAME: Mapping[str, Encode] = {"Float32": _float, "Float64": _float, "Bool": _bool, "Decimal": _decimal}
_QUOTABLE: Mapping[str, Encode] = {
    "String": _string,
    "Enum8": _string,
    "Enum16": _string,
    "Identifier": _identifier,
    "Date": _date,
    "IPv4": _ipv4,
    "IPv6": _ipv6,
    "UUID": _uuid,
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
