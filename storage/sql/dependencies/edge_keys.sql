-- What every edge id stands for, with the account named in each principal: the input of name resolution.
-- Account: /sa/NAME (Istio), /svc/NAME (Consul) or the first label of NAME.NS.serviceaccount... (Linkerd).
-- Inputs: row_limit (rows). Output: one row per edge id: the key fields, and account and its namespace for both sides.
SELECT
    edge_id,
    evidence, reporter, direction, protocol, tls, operation,
    source_cluster, source_namespace, source_workload, source_service, source_version, source_principal,
    multiIf(
        source_principal = '', '',
        position(source_principal, '.serviceaccount.') > 0, extract(source_principal, '^([^.]+)\\.'),
        extract(source_principal, '/(?:sa|svc)/([^/]+)$')) AS source_account,
    multiIf(
        source_principal = '', '',
        position(source_principal, '.serviceaccount.') > 0, extract(source_principal, '^[^.]+\\.([^.]+)\\.'),
        extract(source_principal, '/ns/([^/]+)/')) AS source_account_namespace,
    destination_cluster, destination_namespace, destination_workload, destination_service, destination_version,
    destination_principal,
    multiIf(
        destination_principal = '', '',
        position(destination_principal, '.serviceaccount.') > 0, extract(destination_principal, '^([^.]+)\\.'),
        extract(destination_principal, '/(?:sa|svc)/([^/]+)$')) AS destination_account,
    multiIf(
        destination_principal = '', '',
        position(destination_principal, '.serviceaccount.') > 0, extract(destination_principal, '^[^.]+\\.([^.]+)\\.'),
        extract(destination_principal, '/ns/([^/]+)/')) AS destination_account_namespace
FROM edge_keys
ORDER BY edge_id, received_on DESC
LIMIT 1 BY edge_id
LIMIT {row_limit:UInt64}
