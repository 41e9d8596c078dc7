-- Bounds recorded for the batch that starts at `first`. The first writer's row wins; a second one can only exist where the
-- engine has forgotten the first one's token (it knows the last 100 000): then the earlier row wins.
-- In: topic_id, partition, first (position). Out: last (position, inclusive), received_at, decoder, state.
SELECT last, received_at, decoder, state
FROM ingest_positions
WHERE topic_id = {topic_id:String} AND partition = {partition:Int32} AND first = {first:Int64}
ORDER BY received_at, writer
LIMIT 1
