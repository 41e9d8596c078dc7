"""Who a document is, and whom it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from analyzers.policy.documents import Value

_CORE = ("", "core")


def named(document: Value, namespace: str) -> tuple[str, str]:
    """Namespace and name of a document.

    Raises:
        BadPolicy: it has no name.
    """
    metadata = document.get("metadata") or document.refuse("no metadata, expected a name")
    name = metadata.get("name") or metadata.refuse("no name, expected one")
    return text_or(metadata.get("namespace"), namespace), name.text()


def created(document: Value) -> datetime | None:
    """When the API server made the object; None where the file does not say it, as files that people write.

    Raises:
        BadPolicy: the text is no time.
    """
    value = document.fields()["metadata"].get("creationTimestamp")
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value.text())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return value.refuse(f"{value.shown}, expected a time such as 2026-01-31T10:00:00Z")


def reference(value: Value) -> tuple[str, str, str, Mapping[str, Value]]:
    """Group (`core` is empty), kind and name of what is referred to, and all fields.

    Raises:
        BadPolicy: kind or name are missing.
    """
    fields = value.fields("group", "kind", "name", "namespace")
    for needed in ("kind", "name"):
        if needed not in fields or not fields[needed].text():
            value.refuse(f"no {needed}, expected one")
    group = text_or(fields.get("group"), "").lower()
    return "" if group in _CORE else group, fields["kind"].text(), fields["name"].text(), fields


def spec_of(document: Value) -> Value:
    """The document's `spec`.

    Raises:
        BadPolicy: it has none.
    """
    return document.get("spec") or document.refuse("no spec, expected one")


def text_or(value: Value | None, default: str) -> str:
    """The text, or `default` where there is none, or an empty one."""
    return (value.text() if value else "") or default
