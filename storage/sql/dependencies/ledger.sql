-- First and last call of every edge by principal, operation and kind of evidence, over all that is kept. Log and flow edges
-- stand in edge_ledger. Derived edges are read from the generations that count now, so that an edge which a later generation
-- withdrew is gone from here too: hours know the operation, days (where retention has left nothing finer) do not.
-- External: edge_nodes, as in edge_numbers.sql: an edge that changed its nodes belongs to each of them for its own time.
-- Inputs: row_limit (rows).
-- Output: source and destination (node numbers), principal and operation (empty = not known), evidence, plaintext (whether the
-- calls came without mutual TLS, so that nobody can know a principal), reporters, tls, first_ts, last_ts.
WITH
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1h) AS derived_hours_kept_from,
    seen AS (
        SELECT edge_id, any(base_edge_id) AS base_edge_id, min(first_ts) AS first_ts, max(last_ts) AS last_ts
        FROM edge_ledger
        GROUP BY edge_id
        UNION ALL
        SELECT edge_id, any(base_edge_id) AS base_edge_id, min(first_ts) AS first_ts, max(last_ts) AS last_ts
        FROM derived_edges_1h
        WHERE (kind, hour, generation) IN (
            SELECT kind, period, max(generation) FROM derived_periods WHERE grain = '1h' GROUP BY kind, period)
        GROUP BY edge_id
        UNION ALL
        SELECT edge_id, any(edge_id) AS base_edge_id, min(first_ts) AS first_ts, max(last_ts) AS last_ts
        FROM derived_edges_1d
        WHERE derived_on < derived_hours_kept_from
            AND (kind, day, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods WHERE grain = '1d' GROUP BY kind, period)
        GROUP BY edge_id
    )
SELECT
    k.source AS source,
    k.destination AS destination,
    k.source_principal AS principal,
    o.operation AS operation,
    k.evidence AS evidence,
    k.tls = 'plaintext' AS plaintext,
    groupUniqArray(k.reporter) AS reporters,
    groupUniqArray(k.tls) AS tls,
    min(greatest(s.first_ts, k.valid_from)) AS first_ts,
    max(least(s.last_ts, k.valid_to)) AS last_ts
FROM seen AS s
INNER JOIN (SELECT edge_id, any(operation) AS operation FROM edge_keys GROUP BY edge_id) AS o ON s.edge_id = o.edge_id
INNER JOIN edge_nodes AS k ON s.base_edge_id = k.edge_id
WHERE s.first_ts < k.valid_to AND s.last_ts >= k.valid_from
GROUP BY k.source, k.destination, k.source_principal, o.operation, k.evidence, plaintext
ORDER BY source, destination, evidence, operation, principal, plaintext
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
