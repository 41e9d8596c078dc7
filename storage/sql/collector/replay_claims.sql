-- Letters of one batch that some attempt to replay it has claimed.
-- In: source, partition, received_at (UTC, arrival of the letters).
-- Out: offset, record, payload_hash.
SELECT offset, record, payload_hash
FROM dead_letter_replays
WHERE source = {source:String} AND partition = {partition:Int32} AND step = 'letter'
    AND received_at = {received_at:DateTime64(6, 'UTC')}
