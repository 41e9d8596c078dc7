-- Which shards take batches, and from which arrival time on. Of rows with one number the first stands; there is one, as
-- a second writer's is dropped by its token.
-- In: row_limit (rows). Out: number, since (UTC), shards; ordered.
SELECT number, since, shards
FROM shard_layouts
ORDER BY number, written_at
LIMIT 1 BY number
LIMIT {row_limit:UInt32}
