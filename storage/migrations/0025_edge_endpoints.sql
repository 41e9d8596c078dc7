-- Edge keys with each side as one value: what its lines called it, and a hash of that, by which names are looked up.
-- A side is (cluster, namespace, workload, service, account, host, hint). The account is the one named in the principal:
-- /sa/NAME (Istio), /svc/NAME (Consul) or the first label of NAME.NS.serviceaccount... (Linkerd). A destination outside
-- is its host, with the caller's namespace as the hint where a one-label name would be looked up.
CREATE VIEW edge_endpoints AS
SELECT
    edge_id, evidence, reporter, direction, protocol, tls,
    source_version, source_principal, destination_version, destination_principal,
    source_side, destination_side,
    cityHash64(source_side) AS source_endpoint,
    cityHash64(destination_side) AS destination_endpoint
FROM (
    SELECT
        edge_id, evidence, reporter, direction, protocol, tls,
        source_version, source_principal, destination_version, destination_principal,
        multiIf(
            source_principal = '', ('', ''),
            position(source_principal, '.serviceaccount.') > 0,
                (extract(source_principal, '^([^.]+)\\.'), extract(source_principal, '^[^.]+\\.([^.]+)\\.')),
            (extract(source_principal, '/(?:sa|svc)/([^/]+)$'), extract(source_principal, '/ns/([^/]+)/'))) AS source_account,
        multiIf(
            destination_principal = '', ('', ''),
            position(destination_principal, '.serviceaccount.') > 0,
                (extract(destination_principal, '^([^.]+)\\.'), extract(destination_principal, '^[^.]+\\.([^.]+)\\.')),
            (extract(destination_principal, '/(?:sa|svc)/([^/]+)$'), extract(destination_principal, '/ns/([^/]+)/'))) AS destination_account,
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
