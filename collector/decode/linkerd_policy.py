"""What Linkerd's proxies log of their own authorization decisions: who was refused, by which server and route.

    [  3002.281434s]  INFO ThreadId(01) inbound:server{port=16686}: linkerd_app_inbound::policy::http: Request denied
        server.group=policy.linkerd.io server.kind=server server.name=web route.group= route.kind=default ...

(one line), and the same with `proxyLogFormat: json`. Source: linkerd2-proxy, linkerd/app/inbound/src/policy/http.rs and
tcp.rs; releases to 2.11 write `server=NAME` alone. These lines are there by default, the access log is not; where both
are, they tell of the same requests. So their rows have the log type `audit`, which the map does not count; the ledger
of denials does (analyzers/policy/denials.py).

The proxy prints how long it has been running, not the time: that must come from around the line (`WRITTEN`).

`denied_by` is `KIND/NAME` of the server, and of the route behind it where one was found: `server/web httproute/admin`.
A server with `accessPolicy: audit` lets pass what nothing authorizes, and says so: such a row is `allowed`, and its
attribute `linkerd.audit` names what would have refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import groups
from collector.decode.call_rows import CallRows, End, end_of, filled
from collector.decode.envelope import WRITTEN
from collector.decode.flow_rows import as_map
from collector.decode.values import absent_to_null
from collector.identity.kubernetes import first_label
from collector.identity.own_pods import OwnPod, own_pods
from collector.identity.principals import NOBODY, Principal, parse_principal
from collector.outcomes import Outcome

AUDIT = "linkerd.audit"
"""The attribute that names the policy that would have refused."""
_MODULE = "linkerd_app_inbound::policy"
_DENIED = ("Request denied", "Connection denied", "Connection terminated due to policy change")
_MESSAGES = (*_DENIED, "Request allowed")
TOLD = ("an access log", f"{_MODULE} with one of {', '.join(map(repr, _MESSAGES))}")
"""What is read of Linkerd, for messages."""
FIELDS = (
    *("server", "server_kind", "server_name", "route_kind", "route_name"),
    *("tls", "client", "authz_name", "module", "message", "spans"),
)
"""What `fill` wants of a line, as text; null or `""` where it has none."""

LINE = (
    r"^\[ *\d{1,12}\.\d{1,9}s\] +INFO (?:ThreadId\(\d+\) )?(?P<spans>.*?)"
    rf"{_MODULE}::(?P<module>[a-z:_]+): (?P<message>{'|'.join(_MESSAGES)}) "
    r"(?:server\.group=\S* server\.kind=(?P<server_kind>\S*) server\.name=(?P<server_name>\S*)|server=(?P<server>\S*)) "
    r"(?:route\.group=\S* route\.kind=(?P<route_kind>\S*) route\.name=(?P<route_name>\S*) )?"
    r"(?:client\.)?tls=(?P<tls>.*) client(?:\.ip)?=(?P<client>[0-9A-Fa-f:.\[\]]+)"
    r"(?: authz\.group=\S* authz\.kind=\S* authz\.name=(?P<authz_name>\S*))?$"
)
"""A line of the plain log. All of it is the proxy's own text but for the client's identity, which was verified."""

_PORT = r'(?:server\{port=|"port":\s*"?|listen\.addr(?:=|":\s*")[^,}\s"]*:)(?P<port>\d{1,5})\b'
_PLAIN = ("None(NoClientHello)", "None(Loopback)")
_QUOTED = re.compile(r'client_id: Some\([^"]*?"(?P<id>[^"\\]{1,2048})"')
_URI = re.compile(r"client_id: Some\([^\"]*?\b(?P<id>spiffe://[^)\s\"]{1,2048})")
_URL = re.compile(r'host: Some\(Domain\("(?P<host>[^"\\]+)"\)\).*?path: "(?P<path>[^"\\]*)"')
_WORKLOAD_LABELS = tuple(
    f"linkerd.io/proxy-{kind}"
    for kind in ("deployment", "statefulset", "daemonset", "cronjob", "job", "replicaset", "replicationcontroller")
)


def is_policy(module: str, message: str) -> bool:
    """Whether a line of the proxy's log, by its target and message, tells of a decision."""
    return module.startswith(_MODULE) and message in _MESSAGES


def fill(rows: CallRows, text: Mapping[str, pa.StringArray], written: pa.StringArray | None = None) -> None:
    """Set the columns of `calls`.

    Args:
        rows: of the lines that `text` comes from.
        text: by the names in `FIELDS`.
        written: when each line was written, where it says so itself; null lets `WRITTEN` say it.
    """
    held = rows.lines.metadata.get(WRITTEN, rows.nothing())
    rows.put_time("the time around the line", held if written is None else pc.coalesce(written, held))
    rows.put_constant("log_type", "audit")
    rows.put_constant("reporter", "destination")
    rows.put_constant("direction", "")
    is_http = pc.match_substring(text["module"], "http").fill_null(False).to_numpy(zero_copy_only=False)
    pool = rows.pool
    rows.put("protocol", pool.decode(np.where(is_http, pool.code("http"), pool.code("tcp")).astype(np.int32)))
    rows.put_address("source", absent_to_null(text["client"]))
    _ends(rows, text["tls"], text["spans"])
    _decisions(rows, text)


def _ends(rows: CallRows, tls: pa.StringArray, spans: pa.StringArray) -> None:
    """The caller by its certificate, the callee by what the envelope says of the pod."""
    pool = rows.pool
    pods, pod = own_pods(rows.lines.metadata, rows.rows, pool)
    said = pool.encode(tls)
    first, group = groups([said, pod])
    peers = [client_of(pool.values[said[row]]) for row in first.tolist()]
    callers = [End(namespace=one.namespace, service=one.service, principal=one.id) for _, one in peers]
    owns = [_own(pods[pod[row]]) for row in first.tolist()]
    rows.put_ends("source", callers, group)
    rows.put_ends("destination", owns, group)
    kinds = [kind for kind, _ in peers]
    told = np.array([kind != "unknown" for kind in kinds], np.bool_)[group]
    rows.spread("tls", kinds, group, told)
    rows.tell("source_principal", told)
    rows.tell("source_namespace", told)
    # The last span that names a port: behind `direct`, a gateway's own port comes first.
    last = pc.struct_field(pc.extract_regex(spans, f"^(?s:.*){_PORT}"), "port")
    ports = filled(last).cast(pa.uint32()).fill_null(0).to_numpy(zero_copy_only=False)
    pod_ip = rows.lines.metadata.get("pod_ip")
    own_ip, _ = rows.ips.parse(rows.nothing() if pod_ip is None else pod_ip)
    rows.put_codes("destination", own_ip, np.where(ports <= 65535, ports, 0).astype(np.uint16), False)
    rows.tell("destination_port", (ports > 0) & (ports <= 65535))
    rows.columns["_downstream_local_ip"] = rows.ips.decode(own_ip)
    rows.columns["_weak"] = pa.array(np.zeros(rows.rows, np.bool_))


def _own(own: OwnPod) -> End:
    end = end_of(own.pod)
    return end._replace(workload=first_label(own.labels, _WORKLOAD_LABELS) or end.workload)


def client_of(tls: str) -> tuple[str, Principal]:
    """How a caller came, and as whom, from the text of `tls`. Never raises."""
    if tls.startswith(_PLAIN):
        return "plaintext", NOBODY
    if tls.startswith("Some(Passthru"):
        return "tls", NOBODY
    if not tls.startswith("Some(Established"):
        return "unknown", NOBODY
    if found := _URI.search(tls):
        return "mtls", parse_principal(found["id"])
    if (found := _QUOTED.search(tls)) is None:
        return "tls", NOBODY
    name = found["id"]
    if name == "spiffe" and (url := _URL.search(tls)):
        name = f"spiffe://{url['host']}{url['path']}"
    return "mtls", parse_principal(name)


def _decisions(rows: CallRows, text: Mapping[str, pa.StringArray]) -> None:
    pool = rows.pool
    names = ("message", "server", "server_kind", "server_name", "route_kind", "route_name")
    codes = [pool.encode(text[name]) for name in names]
    said, named = codes[0], codes[1:]

    def outcome(row: int) -> Outcome:
        if pool.values[said[row]] not in _DENIED:
            return Outcome("allowed", "", "none")
        return Outcome("denied", _policy(*(pool.values[code[row]] for code in named)), "mesh")

    rows.judge(codes, outcome, logged=True)
    first, group = groups(codes)
    audited = [
        "" if pool.values[said[row]] in _DENIED else _policy(*(pool.values[code[row]] for code in named))
        for row in first.tolist()
    ]
    would = pool.decode(pool.codes(audited), group).cast(pa.string())
    rows.columns["attributes"] = as_map({AUDIT: filled(would)}, rows.rows)
    changed = said == pool.code(_DENIED[-1])
    ended = np.where(changed, said, 0).astype(np.int32)
    rows.put("termination_details", pool.decode(ended), changed)


def _policy(server: str, server_kind: str, server_name: str, route_kind: str, route_name: str) -> str:
    """The server and, unless it is the one that every server has, the route."""
    found = f"{server_kind or 'server'}/{server_name or server}"
    return found if route_kind in ("", "default") else f"{found} {route_kind}/{route_name}"
