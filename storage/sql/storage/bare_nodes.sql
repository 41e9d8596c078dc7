-- Nodes of a cluster that lack tables of the store: they joined it after the migrations ran.
-- In: cluster (name), tables (how many a complete node has), database, row_limit (rows). Out: node (its name), tables; ordered.
SELECT hostName() AS node, countIf(database = {database:String}) AS tables
FROM clusterAllReplicas({cluster:String}, system.tables)
GROUP BY node
HAVING tables < {tables:UInt64}
ORDER BY node
LIMIT {row_limit:UInt32}
