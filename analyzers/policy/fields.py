"""Where a call has what conditions are about, whether it was logged, and what to switch on where it was not.

A column that is not `logged` is unknown; one that is logged empty is absent, and known to be. Some fields need more:
a plaintext call has no principal, whatever the line says (a line that does not say that it came in plaintext, which
only looks so, leaves it open); a call over mutual TLS has one, even where its certificate bears no URI and the line
therefore shows none.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.policy.formula import Attribute, Field, Subject
from storage.tables import LOGGED_BIT

_CALLER = "an inventory of the pods (`eastwatch inventory load`) and the caller's address in the access log format"
_SWITCH_ON: Mapping[Field, str] = {
    Field.PRINCIPAL: "%DOWNSTREAM_PEER_URI_SAN% in the access log format",
    Field.SOURCE_WORKLOAD: _CALLER,
    Field.SOURCE_NAMESPACE: _CALLER,
    Field.SOURCE_LABELS: "an inventory of the callers' pods and namespaces (`eastwatch inventory load`)",
    Field.TLS: "%DOWNSTREAM_PEER_URI_SAN% and %DOWNSTREAM_TLS_VERSION% in the access log format",
    Field.SOURCE_IP: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% in the access log format",
    Field.REMOTE_IP: "%DOWNSTREAM_REMOTE_ADDRESS% in the access log format",
    Field.DESTINATION_IP: "%DOWNSTREAM_LOCAL_ADDRESS% in the access log format",
    Field.DESTINATION_PORT: "%DOWNSTREAM_LOCAL_ADDRESS% in the access log format",
    Field.METHOD: "%REQ(:METHOD)% in the access log format",
    Field.PATH: "%REQ(:PATH)% in the access log format",
    Field.QUERY: "%REQ(:PATH)% in the access log format",
    Field.HOST: "%REQ(:AUTHORITY)% in the access log format",
    Field.AUTHORITY: "%REQ(:AUTHORITY)% in the access log format",
    Field.SNI: "%REQUESTED_SERVER_NAME% in the access log format",
    Field.NAMESPACE: "the callee's namespace in the line, or an inventory of its pods (`eastwatch inventory load`)",
    Field.LABELS: "an inventory of the pods (`eastwatch inventory load`)",
    Field.ACCOUNTS: "an inventory of the pods (`eastwatch inventory load`)",
    Field.CALLER: f"%DOWNSTREAM_PEER_DNS_SAN% in the access log format, as downstream_peer_san, or {_CALLER}",
    Field.CONTROLLER: "Consul's default policy and peers or SMI's mode, from MeshSettings or [policies.consul] and "
    "[policies.smi] in eastwatch.toml; all else is in no log",
}


def switch_on(subject: Subject) -> str:
    """What makes the field known for calls to come."""
    if isinstance(subject, Field):
        return _SWITCH_ON[subject]
    header = subject.key.removeprefix("request.headers.")
    if header != subject.key:
        return f"%REQ({header.upper()})% in the access log format, as {subject.key}"
    if subject.key.startswith("downstream_peer_"):
        return f"%{subject.key.upper()}% in the access log format, as {subject.key}"
    return f"{subject.key} in the access log format, from the filter's dynamic metadata"


def name_of(subject: Subject) -> str:
    """The column, or the key of `attributes`."""
    return subject.value if isinstance(subject, Field) else subject.key


def _logged(field: Field) -> str:
    return f"bitTest(logged, {LOGGED_BIT[field.value]})"


_PLAINTEXT = f"(tls = 'plaintext' AND {_logged(Field.TLS)})"


def known(subject: Subject, key: str) -> str:
    """SQL: 1 where the call says what the field is, if only that it is absent; `key` is an attribute's, as SQL."""
    match subject:
        case Attribute(_, absent):
            return "1" if absent else f"mapContains(attributes, {key})"
        case Field.SOURCE_LABELS | Field.NAMESPACE | Field.LABELS | Field.ACCOUNTS | Field.CONTROLLER:
            return "0"
        case Field.CALLER:
            return f"({_PLAINTEXT} OR source_principal != '' OR {known(Field.SOURCE_WORKLOAD, key)})"
        case Field.SOURCE_WORKLOAD:
            return "(source_namespace != '' AND source_workload != '')"
        case Field.SOURCE_NAMESPACE:
            return "(source_namespace != '')"
        case Field.TLS:
            return f"(tls IN ('mtls', 'tls') OR {_PLAINTEXT} OR source_principal != '')"
        case Field.PRINCIPAL:
            shown = "(source_principal != '' OR tls != 'mtls')"
            return f"({_PLAINTEXT} OR ({_logged(Field.PRINCIPAL)} AND {shown}))"
        case Field.DESTINATION_PORT:
            return f"({_logged(subject)} AND destination_port != 0)"
        case Field.SNI:
            # How Envoy logs a name with letters that host names do not have: with `_` for each of them.
            return f"({_logged(subject)} AND NOT startsWith(sni, 'invalid:'))"
        case Field.REMOTE_IP:
            return f"({_logged(subject)} AND {value(subject, key)} != toIPv6('::'))"
        case Field.SOURCE_IP | Field.DESTINATION_IP:
            return f"({_logged(subject)} AND {subject.value} != toIPv6('::'))"
        case Field.QUERY:
            return _logged(Field.PATH)
        case Field.AUTHORITY:
            return _logged(Field.HOST)
        case _:
            return _logged(subject)


def value(subject: Subject, key: str) -> str:
    """SQL: what the field is, where it is known."""
    match subject:
        case Attribute():
            # What formats that know no null print for what is absent.
            return f"if(attributes[{key}] = '-', '', attributes[{key}])"
        case Field.PATH:
            # That function keeps a fragment that stands before the query.
            return "cutFragment(cutQueryStringAndFragment(path))"
        case Field.QUERY:
            return "extract(path, '^[^?#]*[?]([^#]*)')"
        case Field.HOST | Field.SNI:
            return f"lower({subject.value})"
        case Field.REMOTE_IP:
            # Kept where it is another than the peer's only.
            return "if(source_remote_ip = toIPv6('::'), source_ip, source_remote_ip)"
        case Field.SOURCE_WORKLOAD:
            return "concat(source_namespace, '/', source_workload)"
        case Field.TLS:
            # Who shows a name showed a certificate, though the line has it as one-way TLS.
            return f"multiIf({_PLAINTEXT}, 'plaintext', source_principal != '', 'mtls', tls)"
        case Field.PRINCIPAL:
            return f"if({_PLAINTEXT}, '', source_principal)"
        case Field.CALLER:
            workload = f"concat('workload:', {value(Field.SOURCE_WORKLOAD, key)})"
            return f"multiIf({_PLAINTEXT}, '', source_principal != '', source_principal, {workload})"
        case Field.AUTHORITY:
            return Field.HOST.value
        case _:
            return subject.value
