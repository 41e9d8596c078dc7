-- The nodes of a cluster as the server that answers has them configured.
-- In: cluster (name), row_limit (rows). Out: shard, replica (numbers from 1), host, port (native protocol), is_local (this server is it); ordered.
SELECT shard_num AS shard, replica_num AS replica, host_name AS host, port, is_local
FROM system.clusters
WHERE cluster = {cluster:String}
ORDER BY shard_num, replica_num
LIMIT {row_limit:UInt32}
