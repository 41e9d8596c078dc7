"""The configuration of `rbac_envoy`: two listeners for each set of policies, and what stands behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.envoy_config import ADMIN, ISTIO_JSON
from tests.support.envoy_pki import KeyPair
from tests.support.istio_rbac import Json, typed

ANSWERS, ECHOES, FIRST_PORT = 8080, 8081, 16000
BASE_HTTP: Mapping[str, Any] = {
    "codec_type": "AUTO",
    "normalize_path": True,
    "merge_slashes": False,
    "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    "use_remote_address": False,
    "generate_request_id": True,
}
"""Istio's sidecars, with its default path normalization."""


@dataclass(frozen=True, slots=True)
class Enforced:
    """The filters of one set of policies, for requests and for connections."""

    http: Sequence[Json]
    tcp: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where everything is: the proxy's address, certificates, its log and what it logs beyond the usual."""

    address: str
    root: Path
    own: KeyPair
    log: Path
    log_format: Mapping[str, str]


def ports(sets: Mapping[str, Enforced]) -> dict[str, int]:
    """Ports by listener: `http-SET` and `tcp-SET`."""
    names = [f"{transport}-{name}" for name in sets for transport in ("http", "tcp")]
    return {name: FIRST_PORT + number for number, name in enumerate(names)}


def bootstrap(setting: Setting, sets: Mapping[str, Enforced]) -> Json:
    """The whole configuration."""
    listeners = [
        _listener(setting, "answers", ANSWERS, [{"filters": [_answers()]}]),
        _listener(setting, "echoes", ECHOES, [{"filters": [_echo()]}]),
    ]
    at = ports(sets)
    for name, enforced in sets.items():
        for listener, filters in (
            (f"http-{name}", _http(setting, name, enforced)),
            (f"tcp-{name}", _tcp(setting, name, enforced)),
        ):
            chains = [
                {
                    "filter_chain_match": {"transport_protocol": "tls"},
                    "transport_socket": _tls(setting),
                    "filters": filters,
                },
                {"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": filters},
            ]
            listeners.append(_listener(setting, listener, at[listener], chains, _LISTENER_FILTERS))
    clusters = [_cluster(setting, f"inbound|{port}||", port) for port in (ANSWERS, ECHOES)]
    # HTTP/1.1 would not carry every method on.
    clusters[0]["typed_extension_protocol_options"] = _HTTP2
    return {
        "node": {"id": f"sidecar~{setting.address}~orders.shop~cluster.local", "cluster": "orders"},
        "admin": {"address": _socket(setting.address, ADMIN)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _listener(setting: Setting, name: str, port: int, chains: list[Json], filters: Sequence[Json] = ()) -> Json:
    return {
        "name": name,
        "traffic_direction": "INBOUND",
        "address": _socket(setting.address, port),
        "listener_filters": [*filters],
        "filter_chains": chains,
    }


def _cluster(setting: Setting, name: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": _socket(setting.address, port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _log(setting: Setting, listener: str) -> list[Json]:
    keys = {**ISTIO_JSON, **setting.log_format, "listener": listener}
    kind = "extensions.access_loggers.file.v3.FileAccessLog"
    return [typed("envoy.access_loggers.file", kind, path=str(setting.log), log_format={"json_format": keys})]


def _http(setting: Setting, name: str, enforced: Enforced) -> list[Json]:
    route = {"match": {"prefix": "/"}, "name": "default", "route": {"cluster": f"inbound|{ANSWERS}||"}}
    hosts = [{"name": f"inbound|http|{ANSWERS}", "domains": ["*"], "routes": [route]}]
    log = _log(setting, f"http-{name}")
    return [_connection_manager(f"http-{name}", hosts, enforced.http, access_log=log, **BASE_HTTP)]


def _tcp(setting: Setting, name: str, enforced: Enforced) -> list[Json]:
    proxy = typed(
        "envoy.filters.network.tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=f"tcp-{name}",
        cluster=f"inbound|{ECHOES}||",
        access_log=_log(setting, f"tcp-{name}"),
    )
    return [*enforced.tcp, proxy]


def _connection_manager(name: str, hosts: list[Json], filters: Sequence[Json], **fields: Any) -> Json:
    router = typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")
    return typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config={"name": name, "virtual_hosts": hosts},
        http_filters=[*filters, router],
        **fields,
    )


def _answers() -> Json:
    """The program behind: 200 to whatever comes."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    return _connection_manager("answers", [{"name": "all", "domains": ["*"], "routes": [route]}], [])


def _echo() -> Json:
    return typed("envoy.filters.network.echo", "extensions.filters.network.echo.v3.Echo")


_LISTENER_FILTERS = (
    typed(
        "envoy.filters.listener.proxy_protocol",
        "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        allow_requests_without_proxy_protocol=True,
    ),
    typed("envoy.filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector"),
)


_HTTP2: Json = {
    (kind := "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"): {
        "@type": f"type.googleapis.com/{kind}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def _socket(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def _tls(setting: Setting) -> Json:
    own = setting.own
    pair = {"certificate_chain": {"filename": str(own.certificate)}, "private_key": {"filename": str(own.key)}}
    return typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context={
            "tls_certificates": [pair],
            "validation_context": {"trusted_ca": {"filename": str(setting.root)}},
        },
    )
