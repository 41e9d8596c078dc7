-- What every base edge id stands for, and the two sides it joins.
-- Inputs: row_limit (rows). Output: the columns of edge_endpoints but the sides themselves, by edge_id.
SELECT
    edge_id, evidence, reporter, direction, protocol, tls,
    source_version, source_principal, destination_version, destination_principal,
    source_endpoint, destination_endpoint
FROM edge_endpoints
WHERE operation = ''
ORDER BY edge_id
LIMIT {row_limit:UInt64}
