-- The clusters that the server that answers knows: told where the one asked for is not among them.
-- In: row_limit (rows). Out: cluster; ordered.
SELECT DISTINCT cluster
FROM system.clusters
ORDER BY cluster
LIMIT {row_limit:UInt32}
