-- Every distinct side of an edge key, as its lines called it: the input of name resolution. Base edges have every side.
-- Inputs: row_limit (rows). Output: endpoint (hash), and the parts of the side.
SELECT DISTINCT
    side.1 AS endpoint,
    side.2.1 AS cluster,
    side.2.2 AS namespace,
    side.2.3 AS workload,
    side.2.4 AS service,
    side.2.5 AS account,
    side.2.6 AS host,
    side.2.7 AS hint
FROM edge_endpoints
ARRAY JOIN [(source_endpoint, source_side), (destination_endpoint, destination_side)] AS side
WHERE operation = ''
LIMIT {row_limit:UInt64}
