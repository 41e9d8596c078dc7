"""What the decoders' own tables say: keys of operators, layouts of text lines, columns and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from collector.decode import envoy_text, istio_text
from collector.decode.calls_json import DESTINATIONS, LARGEST, VOCABULARIES
from collector.decode.envoy_keys import KEYS, spellings
from collector.decode.operators import OPERATORS
from collector.decode.text_layout import Layout
from eastwatch.pages.markdown import code, codes, table
from storage.tables import CALLS, LC, LOGGED_BIT, TABLES, TIME, Column

_JSON_VALUES: Mapping[str, str] = {
    TIME: "RFC 3339 text, or seconds since 1970",
    "IPv6": "IPv4 or IPv6 address",
    "UInt8": "number 0 to 255",
    "UInt16": "number 0 to 65535",
    "UInt32": "number 0 to 4294967295",
    "UInt64": "number",
    LC: "text",
    "String": "text",
}


def _operator_keys() -> str:
    docs = {field.name: field.metadata[b"doc"].decode() for field in OPERATORS if field.metadata}
    rows = [(codes(keys), code(name), docs[name]) for name, keys in KEYS.items()]
    return table(("keys, the best first", "operator", "what Envoy calls it"), rows)


def _spellings() -> str:
    return codes(spellings("response_code_details"))


def _layout(layout: Layout) -> str:
    return "[start_time] " + " ".join(layout.fields).replace('"request"', '"method path protocol"')


def _layouts(layouts: Sequence[Layout]) -> str:
    return "```text\n" + "\n".join(_layout(layout) for layout in layouts) + "\n```"


def _calls_json_columns() -> str:
    rows = [(code(column.name), _value(column), _meaning(column)) for column in CALLS.columns if _is_key(column)]
    return table(("key", "value", "meaning"), rows)


def _is_key(column: Column) -> bool:
    return column.name in LOGGED_BIT or column.name in ("weight", "attributes")


def _value(column: Column) -> str:
    if column.name in VOCABULARIES:
        return "one of " + codes(VOCABULARIES[column.name])
    if column.name in LARGEST:
        return f"number 0 to {LARGEST[column.name]}"
    return "object" if column.name == "attributes" else _JSON_VALUES[column.type]


def _meaning(column: Column) -> str:
    if column.name == "ts":
        return f"{column.doc}; required"
    doc = column.doc
    if column.name in VOCABULARIES:
        # The words stand in the column before.
        words, _, rest = doc.partition(":")
        doc = rest.strip() if set(words.strip().split("|")) <= {*VOCABULARIES[column.name]} else doc
    return "; ".join(part for part in (doc, "names the destination" * (column.name in DESTINATIONS)) if part)


def _columns(name: str) -> Callable[[], str]:
    def rows() -> str:
        return table(("column", "type", "meaning"), [(code(c.name), code(c.type), c.doc) for c in TABLES[name].columns])

    return rows


FORMAT_BLOCKS: Mapping[str, Callable[[], str]] = {
    "envoy_json keys": _operator_keys,
    "envoy_json spellings": _spellings,
    "istio_text layouts": lambda: _layouts(istio_text.LAYOUTS),
    "envoy_text layouts": lambda: _layouts(envoy_text.LAYOUTS),
    "calls_json keys": _calls_json_columns,
    **{f"columns {name}": _columns(name) for name in TABLES},
}
