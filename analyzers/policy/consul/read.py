"""Config entries of Consul, as its API, its command line or Kubernetes has them → model.

Consul takes field names in any case and with underscores (`PathExact`, `pathExact`, `path_exact`); so does this.
Refused is what Consul's own validation refuses. What it computes by itself (`Precedence`, `Hash`, ..) is read over.

Source of the rules: Consul's reference, "Service intentions configuration entry", and its resource for Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from analyzers.policy.consul.model import (
    ANY,
    DEFAULT,
    Defaults,
    Document,
    Header,
    HeaderKind,
    PathKind,
    Permission,
    ServiceIntentions,
    Source,
)
from analyzers.policy.documents import Value, listed
from analyzers.policy.regexes import checked

GROUP = "consul.hashicorp.com"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
MAX_DESCRIPTION = 512
"""Bytes, as Consul has it."""
_ACTIONS = ("allow", "deny")
_COMPUTED = ("CreateIndex", "ModifyIndex", "Hash", "Meta")
_ENTRY = ("Kind", "Name", "Namespace", "Partition", "Sources", "JWT", *_COMPUTED)
_SPEC = ("Destination", "Sources", "JWT")
_SOURCE = (
    *("Name", "Namespace", "Partition", "Peer", "SamenessGroup", "Action", "Permissions"),
    *("Precedence", "Type", "Description", "LegacyID", "LegacyMeta", "LegacyCreateTime", "LegacyUpdateTime"),
)
_HTTP = ("PathExact", "PathPrefix", "PathRegex", "Header", "Methods")
_HEADER = ("Name", "Present", "Exact", "Prefix", "Suffix", "Contains", "Regex", "Invert", "IgnoreCase")
_PATHS: Mapping[str, PathKind] = {"PathExact": "exact", "PathPrefix": "prefix", "PathRegex": "regex"}
_HEADER_TEXTS: Mapping[str, HeaderKind] = {
    "Exact": "exact",
    "Prefix": "prefix",
    "Suffix": "suffix",
    "Contains": "contains",
    "Regex": "regex",
}


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


def _fields(value: Value, *allowed: str) -> Mapping[str, Value]:
    """An object's fields under the names in `allowed`, without those that are null or an empty text."""
    known = {_bare(name): name for name in allowed}
    found: dict[str, Value] = {}
    for written, field in value.fields().items():
        name = known.get(_bare(written)) or field.refuse(f"unknown field, expected {listed(allowed)}")
        if name in found:
            field.refuse(f"{name} again, expected it once")
        found[name] = field
    return {name: field for name, field in found.items() if not (field.is_text and field.text() == "")}


def _given(value: Value, *names: str) -> Mapping[str, Value]:
    """The same for objects of which only some fields matter here."""
    known = {_bare(name): name for name in names}
    found = ((known.get(_bare(written)), field) for written, field in value.fields().items())
    return {name: field for name, field in found if name and not (field.is_text and field.text() == "")}


def _text(fields: Mapping[str, Value], name: str, missing: str = "") -> str:
    return fields[name].text() if name in fields else missing


def read_entry(document: Value, namespace: str) -> ServiceIntentions:
    """A `service-intentions` entry; Consul puts it into `default`, where it names no namespace.

    Raises:
        BadPolicy: Consul would refuse it; says line, field and what is allowed there.
    """
    del namespace
    fields = _fields(document, *_ENTRY)
    name, own, partition = _destination(document, fields)
    return ServiceIntentions(
        namespace=own,
        name=name,
        destination=name,
        destination_namespace=own,
        destination_partition=partition,
        sources=_sources(document, fields, name, own),
        providers=_providers(fields.get("JWT")),
    )


def read_resource(document: Value, namespace: str) -> ServiceIntentions:
    """A `ServiceIntentions` resource of Kubernetes; `namespace` is of those that name none.

    Raises:
        BadPolicy: Consul would refuse it; says line, field and what is allowed there.
    """
    name, own = _metadata(document, namespace)
    spec = document.get("spec") or document.refuse("no spec, expected destination and sources")
    fields = _fields(spec, *_SPEC)
    target = fields.get("Destination") or spec.refuse("no destination, expected its name")
    destination, destination_namespace, partition = _destination(target, _fields(target, "Name", "Namespace"))
    return ServiceIntentions(
        namespace=own,
        name=name,
        destination=destination,
        destination_namespace=destination_namespace,
        destination_partition=partition,
        sources=_sources(spec, fields, destination, destination_namespace),
        providers=_providers(fields.get("JWT")),
    )


def _metadata(document: Value, namespace: str) -> tuple[str, str]:
    metadata = document.get("metadata") or document.refuse("no metadata, expected a name")
    name, own = metadata.get("name"), metadata.get("namespace")
    return (name or metadata.refuse("no name, expected one")).text(), own.text() if own else namespace


def _destination(place: Value, fields: Mapping[str, Value]) -> tuple[str, str, str]:
    """Name, namespace and partition."""
    name, namespace = _text(fields, "Name"), _text(fields, "Namespace", DEFAULT)
    if not name:
        place.refuse("no Name, expected the destination's, or *")
    _check_wildcards(fields, name, namespace)
    return name, namespace, _text(fields, "Partition", DEFAULT)


def _check_wildcards(fields: Mapping[str, Value], name: str, namespace: str) -> None:
    for key, text in (("Name", name), ("Namespace", namespace)):
        if ANY in text and text != ANY and key in fields:
            fields[key].refuse(f"{fields[key].shown}, expected all of it to be *, or none")
    if namespace == ANY and name != ANY:
        fields["Name"].refuse(f"{fields['Name'].shown} in any namespace, expected Name: *")
    for key in ("Partition", "Peer", "SamenessGroup"):
        if key in fields and ANY in fields[key].text():
            fields[key].refuse(f"{fields[key].shown}, expected no *")


def _sources(place: Value, fields: Mapping[str, Value], destination: str, namespace: str) -> tuple[Source, ...]:
    items = fields["Sources"].items() if "Sources" in fields else []
    if not items:
        (fields.get("Sources") or place).refuse("no Sources, expected at least one")
    is_wild = ANY in (destination, namespace)
    found: list[Source] = []
    seen: set[tuple[str, str, str, str, str]] = set()
    for item in items:
        source = _source(item, is_wild)
        of = source.namespace or (DEFAULT if source.peer or source.group or namespace == ANY else namespace)
        key = (source.name, of, source.partition, source.peer, source.group)
        if key in seen:
            item.refuse(f"{source.name} again, expected each source once")
        seen.add(key)
        found.append(source)
    return tuple(found)


def _source(value: Value, is_wild: bool) -> Source:
    fields = _fields(value, *_SOURCE)
    name = _text(fields, "Name") or value.refuse("no Name, expected the caller's, or *")
    _check_wildcards(fields, name, _text(fields, "Namespace"))
    given = [key for key in ("Peer", "Partition", "SamenessGroup") if key in fields]
    if len(given) > 1:
        value.refuse(f"{' and '.join(given)}, expected one of them")
    if "Type" in fields:
        fields["Type"].one_of("consul")
    if "Description" in fields and len(fields["Description"].text().encode()) > MAX_DESCRIPTION:
        fields["Description"].refuse(f"too long, expected at most {MAX_DESCRIPTION} bytes")
    permissions = fields["Permissions"].items() if "Permissions" in fields else []
    if permissions and is_wild:
        fields["Permissions"].refuse("permissions of destination *, expected Action")
    if permissions and "Action" in fields:
        fields["Action"].refuse("beside Permissions, expected one of both")
    return Source(
        name=name,
        namespace=_text(fields, "Namespace"),
        partition=_text(fields, "Partition"),
        peer=_text(fields, "Peer"),
        group=_text(fields, "SamenessGroup"),
        allows=None if permissions else _allows(value, fields),
        permissions=tuple(_permission(item) for item in permissions),
    )


def _allows(place: Value, fields: Mapping[str, Value]) -> bool:
    action = fields.get("Action") or place.refuse(f"no Action, expected {listed(_ACTIONS)}")
    return action.one_of(*_ACTIONS) == "allow"


def _permission(value: Value) -> Permission:
    fields = _fields(value, "Action", "HTTP", "JWT")
    allows, providers = _allows(value, fields), _providers(fields.get("JWT"))
    http = _fields(fields["HTTP"], *_HTTP) if "HTTP" in fields else {}
    paths = [name for name in _PATHS if name in http]
    headers = tuple(_header(item) for item in http["Header"].items()) if "Header" in http else ()
    methods = _methods(http["Methods"]) if "Methods" in http else ()
    if len(paths) > 1:
        fields["HTTP"].refuse(f"{' and '.join(paths)}, expected one of {listed(_PATHS)}")
    if not (paths or headers or methods or providers):
        (fields.get("HTTP") or value).refuse(f"no condition, expected HTTP with one of {listed(_HTTP)}")
    return Permission(
        allows=allows,
        path_kind=_PATHS[paths[0]] if paths else "",
        path=_path(http[paths[0]], paths[0]) if paths else "",
        headers=headers,
        methods=methods,
        providers=providers,
    )


def _path(value: Value, name: str) -> str:
    if name == "PathRegex":
        return checked(value)
    text = value.text()
    if not text.startswith("/"):
        value.refuse(f"{value.shown}, expected a path that begins with /")
    return text


def _methods(value: Value) -> tuple[str, ...]:
    found: list[str] = []
    for item in value.items():
        method = item.text().upper()
        if method not in METHODS:
            item.refuse(f"{item.shown}, expected {listed(METHODS)}")
        if method in found:
            item.refuse(f"{method} again, expected it once")
        found.append(method)
    return tuple(found)


def _header(value: Value) -> Header:
    fields = _fields(value, *_HEADER)
    name = _text(fields, "Name") or value.refuse("no Name, expected a header's")
    flags = {key: fields[key].boolean() for key in ("Present", "Invert", "IgnoreCase") if key in fields}
    texts = [key for key in _HEADER_TEXTS if key in fields]
    if len(texts) + flags.get("Present", False) != 1:
        value.refuse(f"{len(texts)} conditions, expected one of {listed(['Present: true', *_HEADER_TEXTS])}")
    kind: HeaderKind = _HEADER_TEXTS[texts[0]] if texts else "present"
    if flags.get("IgnoreCase") and kind in ("present", "regex"):
        fields["IgnoreCase"].refuse("IgnoreCase, expected one with Exact, Prefix, Suffix or Contains only")
    text = "" if not texts else checked(fields["Regex"]) if kind == "regex" else fields[texts[0]].text()
    return Header(name.lower(), kind, text, flags.get("Invert", False), flags.get("IgnoreCase", False))


def _providers(value: Value | None) -> tuple[str, ...]:
    providers = _fields(value, "Providers").get("Providers") if value else None
    found: list[str] = []
    for item in providers.items() if providers else ():
        fields = _fields(item, "Name", "VerifyClaims")
        found.append(_text(fields, "Name") or item.refuse("no Name, expected a jwt-provider's"))
        for claim in fields["VerifyClaims"].items() if "VerifyClaims" in fields else ():
            parts = _fields(claim, "Path", "Value")
            _ = [*(parts["Path"].texts() if "Path" in parts else ()), _text(parts, "Value")]
    return tuple(found)


def _defaults(place: Value, names: tuple[str, str], of_all: bool) -> Defaults:
    fields = _given(place, "Protocol", "Config", "MutualTLSMode", "Expose")
    config = _given(fields["Config"], "protocol") if "Config" in fields and of_all else {}
    mode = fields["MutualTLSMode"].one_of("strict", "permissive") if "MutualTLSMode" in fields else ""
    expose = _given(fields["Expose"], "Checks", "Paths") if "Expose" in fields else {}
    paths = [_given(item, "Path") for item in expose["Paths"].items()] if "Paths" in expose else []
    return Defaults(
        *names,
        of_all=of_all,
        protocol=(_text(config, "protocol") if of_all else _text(fields, "Protocol")).lower(),
        mutual_tls=mode,  # pyright: ignore[reportArgumentType]
        exposed_paths=tuple(_text(path, "Path") for path in paths if "Path" in path),
        exposes_checks="Checks" in expose and expose["Checks"].boolean(),
    )


def _default_entry(of_all: bool) -> Callable[[Value, str], Defaults]:
    def read(document: Value, namespace: str) -> Defaults:
        del namespace
        fields = _given(document, "Name", "Namespace")
        name = _text(fields, "Name") or document.refuse("no Name, expected one")
        return _defaults(document, (_text(fields, "Namespace", DEFAULT), name), of_all)

    return read


def _default_resource(of_all: bool) -> Callable[[Value, str], Defaults]:
    def read(document: Value, namespace: str) -> Defaults:
        name, own = _metadata(document, namespace)
        spec = document.get("spec")
        return _defaults(spec, (own, name), of_all) if spec else Defaults(own, name, of_all)

    return read


KINDS: Mapping[tuple[str, str], Callable[[Value, str], Document]] = {
    ("", "service-intentions"): read_entry,
    ("", "service-defaults"): _default_entry(of_all=False),
    ("", "proxy-defaults"): _default_entry(of_all=True),
    (GROUP, "ServiceIntentions"): read_resource,
    (GROUP, "ServiceDefaults"): _default_resource(of_all=False),
    (GROUP, "ProxyDefaults"): _default_resource(of_all=True),
}
"""By API group (config entries have none) and kind: reader(document, namespace of those that name none)."""
