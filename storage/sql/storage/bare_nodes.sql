-- Nodes of a cluster that lack tables or views of the store: they joined it after the migrations ran.
-- In: cluster (name), database, tables (names that a complete node has), row_limit (rows).
-- Out: node (its name), missing (how many it lacks); ordered.
SELECT
    hostName() AS node,
    length({tables:Array(String)}) - countIf(database = {database:String} AND has({tables:Array(String)}, name)) AS missing
FROM clusterAllReplicas({cluster:String}, system.tables)
GROUP BY node
HAVING missing > 0
ORDER BY node
LIMIT {row_limit:UInt32}
