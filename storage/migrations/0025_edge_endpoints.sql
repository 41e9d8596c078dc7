-- Edge keys with each side as one value: what its lines called it, and a hash of that, by which names are looked up.
-- A side is (cluster, namespace, workload, service, account, host, hint). The account is what the principal
-- names: /sa/NAME (Istio), /svc/NAME (Consul, whose namespace `default` is none), NAME.NS.serviceaccount.identity... (Linkerd),
-- NAME.NS.cluster.local (OSM), else the whole principal, as in collector/identity/principals.py. A destination outside is its host, with the caller's
-- namespace as the hint where a one-label name would be looked up.
CREATE VIEW edge_endpoints AS
WITH
    principal -> extract(principal, '^spiffe://[^/]*(?:/[^/]*/[^/]*)*?/sa/([^/]*)(?:/[^/]*/[^/]*)*$') AS sa,
    principal -> extract(principal, '^spiffe://[^/]*(?:/[^/]*/[^/]*)*?/svc/([^/]*)(?:/[^/]*/[^/]*)*$') AS svc,
    principal -> extract(principal, '^spiffe://[^/]*(?:/[^/]*/[^/]*)*?/ns/([^/]*)(?:/[^/]*/[^/]*)*$') AS ns,
    principal -> (
        coalesce(
            nullIf(sa(principal), ''),
            nullIf(svc(principal), ''),
            nullIf(extract(principal, '^([^/]*?)\\.[^./]*\\.serviceaccount\\.identity(?:\\.[^/]*)?$'), ''),
            nullIf(extract(principal, '^([^./]*)\\.[^./]*\\.cluster\\.local$'), ''),
            toString(principal)),
        coalesce(
            nullIf(if(ns(principal) = 'default' AND svc(principal) != '' AND sa(principal) = '', '', ns(principal)), ''),
            nullIf(extract(principal, '^[^/]*?\\.([^./]*)\\.serviceaccount\\.identity(?:\\.[^/]*)?$'), ''),
            extract(principal, '^[^./]*\\.([^./]*)\\.cluster\\.local$'))) AS named
SELECT
    edge_id, evidence, reporter, direction, protocol, tls, operation,
    source_version, source_principal, destination_version, destination_principal,
    source_side, destination_side,
    cityHash64(source_side) AS source_endpoint,
    cityHash64(destination_side) AS destination_endpoint
FROM (
    SELECT
        edge_id, evidence, reporter, direction, protocol, tls, operation,
        source_version, source_principal, destination_version, destination_principal,
        named(source_principal) AS source_account,
        named(destination_principal) AS destination_account,
        (
            toString(source_cluster),
            if(source_namespace = '', source_account.2, toString(source_namespace)),
            toString(source_workload), toString(source_service), source_account.1, '', ''
        ) AS source_side,
        if(
            direction = 'egress' AND destination_namespace = '' AND destination_workload = '' AND destination_service != '',
            (
                if(destination_cluster = '', toString(source_cluster), toString(destination_cluster)),
                '', '', '', '', toString(destination_service), source_side.2
            ),
            (
                toString(destination_cluster),
                if(destination_namespace = '', destination_account.2, toString(destination_namespace)),
                toString(destination_workload), toString(destination_service), destination_account.1, '', ''
            )) AS destination_side
    FROM edge_keys FINAL
)
