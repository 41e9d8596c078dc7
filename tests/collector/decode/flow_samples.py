"""Flow lines as Hubble and Calico write them.

Sources: Cilium's documentation ("Configuring Hubble exporter", 1.14 to 1.18), a flow as Azure's agent receives it
(2025), Hubble's own documentation of 2020 (a bare object); Calico's documentation ("Flow log data types", 2020 and
2022) and a stored flow of 2018.
"""

from __future__ import annotations

DENIED = (
    '{"flow":{"time":"2023-08-21T12:12:18.510175415Z","verdict":"DROPPED","IP":{"source":"10.244.1.60","destination":'
    '"10.244.1.5","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":44916,"destination_port":80,"flags":{"SYN":true}}},'
    '"source":{"namespace":"default","pod_name":"xwing"},"destination":{"namespace":"default","pod_name":'
    '"deathstar-7848d6c4d5-th9v2"},"node_name":"kind-kind/kind-worker","drop_reason_desc":"POLICY_DENIED"},"node_name":'
    '"kind-kind/kind-worker","time":"2023-08-21T12:12:18.510175415Z"}'
)
BAD_SOURCE = (
    '{"flow":{"time":"2023-08-21T12:12:13.517394084Z","verdict":"DROPPED","IP":{"source":"fe80::64d8:8aff:fe72:fc14",'
    '"destination":"ff02::2","ipVersion":"IPv6"},"l4":{"ICMPv6":{"type":133}},"source":{},"destination":{},"node_name":'
    '"kind-kind/kind-worker","drop_reason_desc":"INVALID_SOURCE_IP"},"node_name":"kind-kind/kind-worker","time":'
    '"2023-08-21T12:12:13.517394084Z"}'
)
REPLY = (
    '{"flow":{"time":"2025-04-16T18:49:59.450463857Z","uuid":"60e8fedd-6d98-49d8-b7f6-cb84455757ab","verdict":'
    '"FORWARDED","ethernet":{"source":"ce:38:1f:4b:21:dd","destination":"fa:ce:3c:de:8b:f8"},"IP":{"source":"10.0.1.13",'
    '"destination":"10.0.1.178","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":8080,"destination_port":60778,"flags":'
    '{"PSH":true,"ACK":true}}},"source":{"ID":1501,"identity":39459,"cluster_name":"longtestnetworkflowcni","namespace":'
    '"default","labels":["k8s:app=kapinger","k8s:server=good"],"pod_name":"kapinger-good-64cbf459c4-q4tr9","workloads":'
    '[{"name":"kapinger-good","kind":"Deployment"}]},"destination":{"ID":2273,"identity":17221,"cluster_name":'
    '"longtestnetworkflowcni","namespace":"default","labels":["k8s:app=kapinger","k8s:server=bad"],"pod_name":'
    '"kapinger-bad-6b5b787dc9-ds4j4","workloads":[{"name":"kapinger-bad","kind":"Deployment"}]},"Type":"L3_L4",'
    '"node_name":"longtestnetworkflowcni/aks-nodepool1-27013129-vmss000000","reply":true,"event_type":{"type":4},'
    '"traffic_direction":"EGRESS","trace_observation_point":"TO_ENDPOINT","trace_reason":"REPLY","is_reply":true,'
    '"interface":{"index":98,"name":"lxc8308dc5301b3"},"Summary":"TCP Flags: ACK, PSH"}}'
)
BARE = (
    '{"time":"2020-12-14T07:58:04.526869639Z","verdict":"FORWARDED","ethernet":{"source":"ea:d4:b0:31:46:86",'
    '"destination":"e6:11:d4:87:6e:ef"},"IP":{"source":"10.0.0.69","destination":"10.0.0.120","ipVersion":"IPv4"},"l4":'
    '{"TCP":{"source_port":59974,"destination_port":8080,"flags":{"SYN":true}}},"source":{"identity":1,"labels":'
    '["reserved:host"]},"destination":{"ID":2495,"identity":2087,"namespace":"kube-system","labels":'
    '["k8s:io.cilium.k8s.policy.cluster=default","k8s:io.cilium.k8s.policy.serviceaccount=coredns","k8s:k8s-app=kube-dns"],'
    '"pod_name":"coredns-f9fd979d6-88nqn"},"Type":"L3_L4","node_name":"minikube","event_type":{"type":4},'
    '"traffic_direction":"INGRESS","trace_observation_point":"TO_ENDPOINT","Summary":"TCP Flags: SYN"}'
)
LOST = '{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"8"},"time":"2026-02-24T08:43:40Z"}'
CALICO_ALLOW = (
    '{"start_time":1597086849,"end_time":1597087167,"source_ip":null,"source_name":"-","source_name_aggr":'
    '"access-6b687c8dcb-*","source_namespace":"policy-demo","source_port":null,"source_type":"wep","source_labels":'
    '{"labels":["app=access","pod-template-hash=6b687c8dcb"]},"dest_ip":null,"dest_name":"-","dest_name_aggr":'
    '"nginx-86c57db685-*","dest_namespace":"policy-demo","dest_port":80,"dest_type":"wep","dest_labels":{"labels":'
    '["app=nginx","pod-template-hash=86c57db685"]},"proto":"tcp","action":"allow","reporter":"dst","policies":'
    '{"all_policies":["0|default|policy-demo/default.access-nginx|allow"]},"bytes_in":18236,"bytes_out":52519,'
    '"num_flows":47,"num_flows_started":47,"num_flows_completed":40,"packets_in":282,"packets_out":239,'
    '"http_requests_allowed_in":0,"http_requests_denied_in":0,"original_source_ips":null,"num_original_source_ips":0,'
    '"host":"bz-n8kf-kadm-node-1","@timestamp":1597087167000}'
)
CALICO_DENY = (
    '{"start_time":1659621542,"end_time":1659621842,"source_ip":"10.48.116.157","source_name":"multitool",'
    '"source_name_aggr":"multitool","source_namespace":"default","nat_outgoing_ports":null,"source_port":null,'
    '"source_type":"wep","source_labels":{"labels":["run=multitool"]},"dest_ip":"10.48.127.224","dest_name":'
    '"checkoutservice-598d5b586d-wsvmz","dest_name_aggr":"checkoutservice-598d5b586d-*","dest_namespace":"hipstershop",'
    '"dest_port":5050,"dest_type":"wep","dest_labels":{"labels":["app=checkoutservice","tenant=hipstershop"]},'
    '"dest_service_namespace":"-","dest_service_name":"-","dest_service_port":"-","proto":"tcp","action":"deny",'
    '"reporter":"dst","policies":{"all_policies":["1|app-hipstershop|hipstershop/app-hipstershop.checkoutservice|deny|-1"'
    ',"0|security|security.tenant-histershop|pass|0"]},"bytes_in":300,"bytes_out":0,"num_flows":1,"num_flows_started":1,'
    '"num_flows_completed":1,"packets_in":5,"packets_out":0}'
)
CALICO_FROM_OUTSIDE = (
    '{"start_time":1536897600,"end_time":1536897900,"source_ip":"35.32.82.134","source_name":"-","source_name_aggr":"pub",'
    '"source_namespace":"-","source_port":null,"source_type":"net","source_labels":null,"dest_ip":"10.10.1.20","dest_name":'
    '"basic-6tn46e","dest_name_aggr":"basic-*","dest_namespace":"default","dest_port":0,"dest_type":"wep","dest_labels":'
    'null,"proto":"tcp","action":"allow","reporter":"dst","policies":null,"bytes_in":18966,"bytes_out":10048,"num_flows":1,'
    '"num_flows_started":1,"num_flows_completed":1,"packets_in":172,"packets_out":84,"host":"node02"}'
)
HUBBLE = (DENIED, BAD_SOURCE, REPLY, BARE)
CALICO = (CALICO_ALLOW, CALICO_DENY, CALICO_FROM_OUTSIDE)
