"""Pods: workload, service and version from their names, labels and owners, as Kubernetes and Istio name them.

Sources: Kubernetes "Recommended Labels" and the names that its controllers generate (`DEPLOYMENT-HASH-SUFFIX`,
`STATEFULSET-ORDINAL`, `JOB-SUFFIX`); Istio's canonical service labels; Gateway API's `gateway-name` label.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from storage.gateways import is_gateway_name

SERVICE_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app", "k8s-app")
VERSION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
GATEWAY_NAME_LABELS = (
    "gateway.networking.k8s.io/gateway-name",
    "istio.io/gateway-name",
    "gateway.istio.io/managed",
)
_WAYPOINT = "istio.io-mesh-controller"
_ENVOY_GATEWAY = "gateway.envoyproxy.io/owning-gateway-name"

# The alphabet of Kubernetes' generated names has neither vowels nor 0, 1 and 3.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_DEPLOYMENT = re.compile(rf"(?P<owner>.+)-[{_SAFE}]{{6,10}}-[{_SAFE}]{{5}}")
_STATEFUL_SET = re.compile(r"(?P<owner>.+)-\d{1,5}")
_CRON_JOB = re.compile(rf"(?P<owner>.+)-\d{{8,10}}-[{_SAFE}]{{5}}")
_SUFFIXED = re.compile(rf"(?P<owner>.+)-[{_SAFE}]{{5}}")
_REPLICA_SET = re.compile(rf"(?P<owner>.+)-[{_SAFE}]{{6,10}}")


class Pod(NamedTuple):
    """What is known of a pod from the outside. Unset parts are `""`."""

    name: str = ""
    namespace: str = ""
    cluster: str = ""
    workload: str = ""
    service: str = ""
    version: str = ""
    is_gateway: bool = False
    is_waypoint: bool = False


NO_POD = Pod()


def first_label(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of these labels that is set, or `""`. Accepts keys whose dots a log shipper turned into underscores."""
    for name in names:
        if value := labels.get(name) or labels.get(name.replace(".", "_")):
            return value
    return ""


def workload_of(pod_name: str) -> str:
    """The Deployment, StatefulSet, DaemonSet, Job or CronJob of a pod, from its name alone; else the name itself."""
    for pattern in (_CRON_JOB, _DEPLOYMENT, _STATEFUL_SET, _SUFFIXED):
        if match := pattern.fullmatch(pod_name):
            return match["owner"]
    return pod_name


def deployment_of(replica_set: str) -> str:
    """The Deployment that made a ReplicaSet, from its name; the name itself when it has no pod-template hash."""
    match = _REPLICA_SET.fullmatch(replica_set)
    return match["owner"] if match else replica_set


def is_waypoint(labels: Mapping[str, str]) -> bool:
    """Whether these are the labels of an ambient waypoint, which is no node of the map."""
    return first_label(labels, ("gateway.istio.io/managed",)) == _WAYPOINT


def is_gateway(labels: Mapping[str, str], name: str = "") -> bool:
    """Whether labels (or, without any, the workload's name) are those of a mesh gateway."""
    if is_waypoint(labels):
        return False
    if first_label(labels, (*GATEWAY_NAME_LABELS, _ENVOY_GATEWAY)):
        return True
    role = labels.get("istio", "")
    if role in ("ingressgateway", "egressgateway", "eastwestgateway") or role.endswith("-gateway"):
        return True
    if is_gateway_name(first_label(labels, ("app", "app.kubernetes.io/name"))):
        return True
    if labels.get("component") in ("api-gateway", "ingress-gateway", "mesh-gateway", "terminating-gateway"):
        return True  # Consul's Helm chart
    return not labels and is_gateway_name(name)


def pod_of(name: str, namespace: str, labels: Mapping[str, str], cluster: str = "") -> Pod:
    """A pod from the metadata that a log shipper adds to its lines."""
    workload = workload_of(name) if name else ""
    return Pod(
        name=name,
        namespace=namespace,
        cluster=cluster,
        workload=first_label(labels, ("service.istio.io/workload-name",)) or workload,
        # Envoy Gateway labels every proxy `envoy`; its Deployment and its Service have the gateway's own name.
        service=workload if first_label(labels, (_ENVOY_GATEWAY,)) else first_label(labels, SERVICE_LABELS),
        version=first_label(labels, VERSION_LABELS),
        is_gateway=is_gateway(labels, workload),
        is_waypoint=is_waypoint(labels),
    )
