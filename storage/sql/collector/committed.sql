-- How far a source without a memory of its own (a file) was stored: rows with partition -1 record it.
-- In: topic_id. Out: one row, position (next to read; 0 when nothing was stored).
SELECT max(first) AS position
FROM ingest_positions
WHERE topic_id = {topic_id:String} AND partition = -1
