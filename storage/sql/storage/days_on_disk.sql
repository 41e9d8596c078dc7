-- What each table of the store holds on disk, by its partitions: the budget is compared with it, and days are dropped by it.
-- In: none. Out: table, partition (identifier; that of a day is its digits, YYYYMMDD), rows, disk_bytes, table by table, the
-- oldest partition first. On a cluster it is what the node that answers holds.
SELECT table, partition_id AS partition, sum(rows) AS rows, sum(bytes_on_disk) AS disk_bytes
FROM system.parts
WHERE active AND database = currentDatabase()
GROUP BY table, partition
ORDER BY table, partition
LIMIT 1000000
