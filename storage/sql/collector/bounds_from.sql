-- Batches recorded by earlier runs that reach `position`: a replay must cut exactly these again.
-- In: topic_id, partition, position, limit (rows). Out: first, last (positions, inclusive), received_at, decoder, state; ordered.
SELECT
    p.first,
    argMin(p.last, p.received_at)    AS last,
    min(p.received_at)               AS received_at,
    argMin(p.decoder, p.received_at) AS decoder,
    argMin(p.state, p.received_at)   AS state
FROM ingest_positions AS p
WHERE p.topic_id = {topic_id:String} AND p.partition = {partition:Int32} AND p.last >= {position:Int64}
GROUP BY p.first
ORDER BY p.first
LIMIT {limit:UInt32}
