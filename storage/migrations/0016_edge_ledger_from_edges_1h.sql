-- Every block of hours widens what the ledger knows of its edges.
CREATE MATERIALIZED VIEW edge_ledger_from_edges_1h TO edge_ledger AS
SELECT
    edge_id,
    any(base_edge_id) AS base_edge_id,
    min(first_ts) AS first_ts,
    max(last_ts) AS last_ts,
    max(received_on) AS received_on,
    sum(requests) AS requests
FROM edges_1h
GROUP BY edge_id
