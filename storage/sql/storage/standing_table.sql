-- A table as it stands on a cluster, with the TTLs, columns and settings that ALTERs gave it: a node that joins needs it so.
-- In: cluster (name), database, table (name). Out: statement (CREATE TABLE); none where no node has it. Where nodes differ,
-- that of the most.
SELECT create_table_query AS statement
FROM clusterAllReplicas({cluster:String}, system.tables)
WHERE database = {database:String} AND name = {table:String}
GROUP BY statement
ORDER BY count() DESC, statement
LIMIT 1
