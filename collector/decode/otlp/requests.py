"""What a span asked and how it ended: protocol, method, path, operation, statuses, request id, from attributes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.otlp.attributes import Attributes, Picked, first_text
from collector.decode.otlp.text import map_distinct
from collector.decode.otlp.urls import split_urls

_GRPC_NAMES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
GRPC_CODES = {name: code for code, name in enumerate(_GRPC_NAMES)}

# Keys of each reading, best first.
METHOD = ("http.request.method", "http.method")
HTTP_STATUS = ("http.response.status_code", "http.status_code")
GRPC_STATUS = ("rpc.grpc.status_code", "rpc.response.status_code", "rpc.status_code", "grpc.status_code")
ROUTE = ("http.route", "url.template")
TARGET = ("url.path", "http.target", "http.path")
QUERY = ("url.query",)
URL = ("url.full", "http.url")
RPC_SYSTEM = ("rpc.system.name", "rpc.system")
RPC_SERVICE = ("rpc.service",)
RPC_METHOD = ("rpc.method",)
MESSAGING = ("messaging.system",)
DATABASE = ("db.system.name", "db.system", "db.type")
# Micrometer's observations (Spring) use plain words. They count beside an outcome, which only Micrometer tells.
OUTCOME = ("outcome",)
PLAIN_METHOD = ("method",)
PLAIN_STATUS = ("status",)
TEMPLATE = ("uri",)
NO_TEMPLATE = ("", "UNKNOWN", "NOT_FOUND", "REDIRECTION", "none")
"""What Micrometer writes for `uri` where it knows none."""
REQUEST_ID = ("guid:x-request-id", "http.request.header.x-request-id", "http.request.header.x_request_id")
WANTED = (
    *(METHOD, HTTP_STATUS, GRPC_STATUS, ROUTE, TARGET, QUERY, URL),
    *(RPC_SYSTEM, RPC_SERVICE, RPC_METHOD, MESSAGING, DATABASE, REQUEST_ID),
    *(OUTCOME, PLAIN_METHOD, PLAIN_STATUS, TEMPLATE),
)


def observed_by_micrometer(attributes: Attributes) -> npt.NDArray[np.bool_]:
    """Which records are HTTP exchanges as Micrometer tells them: by an outcome, a method and a URI."""
    observed = attributes.has(*OUTCOME)
    if observed.any():
        observed &= attributes.has(*PLAIN_METHOD) & attributes.has(*TEMPLATE)
    return observed


def _small(picked: Picked, to: pa.DataType, limit: int, names: dict[str, int] | None = None) -> pa.Array:
    """Integers in 0..limit; what is absent or beyond becomes 0."""
    values = picked.integers(names)
    sound = pc.and_(pc.greater_equal(values, 0), pc.less_equal(values, limit))
    return pc.if_else(sound.fill_null(False), values, 0).cast(to)


def request_columns(attributes: Attributes) -> dict[str, pa.Array]:
    """protocol, method, path, operation (`""` where no attribute states one), http_status, grpc_status, request_id."""
    columns: dict[str, pa.Array] = {}
    observed = observed_by_micrometer(attributes)
    method = attributes.pick(*METHOD).or_else(attributes.pick(*PLAIN_METHOD, among=observed))
    status = attributes.pick(*HTTP_STATUS).or_else(attributes.pick(*PLAIN_STATUS, among=observed))
    grpc_status, rpc_system = attributes.pick(*GRPC_STATUS), attributes.pick(*RPC_SYSTEM)
    messaging, database = attributes.pick(*MESSAGING), attributes.pick(*DATABASE)

    protocol = np.zeros(attributes.records, np.int32)
    protocol[method.present | status.present] = 1
    protocol[messaging.present] = 2
    protocol[database.present] = 3
    protocol[grpc_status.present] = 4
    names = ["", "http", "messaging", "database", "grpc"]
    if rpc_system.any:
        systems = map_distinct(rpc_system.text(), str.lower, pa.string()).dictionary_encode()
        protocol[rpc_system.present] = systems.indices.drop_null().to_numpy() + len(names)
        names += systems.dictionary.to_pylist()
    columns["protocol"] = pa.DictionaryArray.from_arrays(protocol, names)

    if status.any:
        columns["http_status"] = _small(status, pa.uint16(), 999)
    if grpc_status.any:
        columns["grpc_status"] = _small(grpc_status, pa.uint8(), 255, GRPC_CODES)
    if (request_id := attributes.pick(*REQUEST_ID)).any:
        columns["request_id"] = first_text(request_id.text())
    operation: list[pa.Array] = []
    methods = method.text()
    if method.any:
        columns["method"] = first_text(methods)
    rpc = attributes.pick(*RPC_METHOD)
    if rpc.any:
        service, called = attributes.pick(*RPC_SERVICE).text(), rpc.text()
        operation.append(pc.coalesce(pc.binary_join_element_wise(service, called, "/"), called))
    route = attributes.pick(*ROUTE)
    if route.any:
        templates = route.text()
        operation.append(pc.coalesce(pc.binary_join_element_wise(methods, templates, " "), templates))
    template = attributes.pick(*TEMPLATE, among=observed)
    if template.any:
        templates = pc.if_else(pc.is_in(template.text(), pa.array(NO_TEMPLATE)), None, template.text())
        operation.append(pc.binary_join_element_wise(methods, templates, " "))
    columns["operation"] = first_text(*operation, pa.nulls(attributes.records, pa.string()))
    columns["path"] = _path(attributes, operation[0] if rpc.any else None)
    return columns


def _path(attributes: Attributes, rpc: pa.Array | None) -> pa.StringArray:
    """The path with its query: as given, else from the whole URL, else the gRPC path."""
    candidates: list[pa.Array] = []
    target = attributes.pick(*TARGET)
    if target.any:
        paths = target.text()
        query = attributes.pick(*QUERY)
        if query.any:
            queries = first_text(query.text())
            paths = pc.if_else(pc.equal(queries, ""), paths, pc.binary_join_element_wise(paths, queries, "?"))
        candidates.append(paths)
    url = attributes.pick(*URL, among=~target.present)
    if url.any:
        urls = url.text()
        candidates.append(split_urls(urls)[1])
        candidates.append(pc.if_else(pc.starts_with(urls, "/"), urls, None))
    if rpc is not None:
        candidates.append(pc.binary_join_element_wise("", rpc, "/"))
    return first_text(*candidates, pa.nulls(attributes.records, pa.string()))
