"""The cluster as `kubectl get pods,services,endpointslices,serviceaccounts -A -o json` would print it."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from eastwatch.world.cluster import Cluster, Pod
from eastwatch.world.model import Service

Object = dict[str, Any]


def kubernetes_list(cluster: Cluster, at_us: int) -> bytes:
    """A `List` of what the API server holds at `at_us` (microseconds since 1970), finished jobs included, as JSON."""
    pods = [pod for pod in cluster.pods if pod.started_us <= at_us]
    items = [_pod(pod, at_us) for pod in pods]
    by_service: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        by_service[pod.service.id].append(pod)
    accounts: dict[tuple[str, str], Object] = {}
    for service in cluster.topology.services:
        if service.served:
            items.append(_service(service, cluster.service_address[service.id]))
            items.append(_endpoint_slice(service, by_service[service.id]))
        name = service.account or service.name
        accounts[service.namespace, name] = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": service.namespace},
        }
    items.extend(accounts.values())
    return json.dumps(
        {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}
    ).encode()


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pod(pod: Pod, at_us: int) -> Object:
    service = pod.service
    ended = pod.ended_us is not None and pod.ended_us <= at_us
    state: Object = {"running": {"startedAt": _time(pod.started_us)}}
    if pod.ended_us is not None and ended:
        times = {"startedAt": _time(pod.started_us), "finishedAt": _time(pod.ended_us)}
        state = {"terminated": {"exitCode": 0, "reason": "Completed", **times}}
    application: Object = {"name": service.name, "image": f"registry.example/{service.name}:{pod.version.name}"}
    if service.served:
        application["ports"] = [{"containerPort": service.target_port, "protocol": "TCP"}]
    containers, first, annotations = [application], [], {}
    if service.gateway:
        application.update(name="istio-proxy", image="registry.example/proxyv2:1.28.0")
    elif service.meshed:
        annotations["sidecar.istio.io/status"] = json.dumps({"initContainers": ["istio-init", "istio-proxy"]})
        # A native sidecar: it starts before the application and does not keep a job's pod alive.
        first = [{"name": "istio-proxy", "image": "registry.example/proxyv2:1.28.0", "restartPolicy": "Always"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": service.namespace,
            "uid": pod.uid,
            "creationTimestamp": _time(pod.started_us),
            "labels": pod.labels,
            "annotations": annotations,
            "ownerReferences": [
                {"apiVersion": _owner_version(pod), "kind": pod.owner_kind, "name": pod.owner_name, "controller": True}
            ],
        },
        "spec": {
            "nodeName": pod.node,
            "serviceAccountName": service.account or service.name,
            "initContainers": first,
            "containers": containers,
        },
        "status": {
            "phase": "Succeeded" if ended else "Running",
            "podIP": pod.address,
            "podIPs": [{"ip": pod.address}],
            "startTime": _time(pod.started_us),
            "containerStatuses": [{"name": application["name"], "state": state}],
        },
    }


def _owner_version(pod: Pod) -> str:
    return "batch/v1" if pod.owner_kind == "Job" else "apps/v1"


def _service(service: Service, address: str) -> Object:
    prefix = {"http": "http", "grpc": "grpc", "tcp": "tcp"}[service.protocol]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name, "namespace": service.namespace, "labels": {"app": service.name}},
        "spec": {
            "type": "LoadBalancer" if service.gateway else "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "selector": {"app": service.name},
            "ports": [
                {"name": prefix, "port": service.port, "protocol": "TCP", "targetPort": service.target_port},
            ],
        },
    }


def _endpoint_slice(service: Service, pods: list[Pod]) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.name}-endpoints",
            "namespace": service.namespace,
            "labels": {"kubernetes.io/service-name": service.name},
        },
        "addressType": "IPv4",
        "ports": [{"name": service.protocol, "port": service.target_port, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [pod.address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": pod.node,
                "targetRef": {"kind": "Pod", "name": pod.name, "namespace": service.namespace, "uid": pod.uid},
            }
            for pod in pods
        ],
    }
