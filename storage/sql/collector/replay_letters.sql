-- Dead letters of one batch: those of an attempt to replay them, or (attempt 0) those of no attempt. The order is the
-- same whenever an attempt is read.
-- In: source, partition, received_at (UTC, arrival), attempt, limit and skip (rows).
-- Out: offset, record, payload_hash, format, reason, payload (bytes, maybe cut), payload_bytes.
SELECT offset, record, sipHash64(payload) AS payload_hash, format, reason, payload, payload_bytes
FROM dead_letters
WHERE source = {source:String} AND partition = {partition:Int32}
    AND received_at = {received_at:DateTime64(6, 'UTC')}
    AND ((offset, record, sipHash64(payload)) IN (
        SELECT offset, record, payload_hash
        FROM dead_letter_replays
        WHERE source = {source:String} AND partition = {partition:Int32} AND step = 'letter'
            AND received_at = {received_at:DateTime64(6, 'UTC')}
            AND ({attempt:UInt32} = 0 OR attempt = {attempt:UInt32})
    )) = ({attempt:UInt32} > 0)
ORDER BY offset, record, payload_hash, reason
LIMIT {limit:UInt32} OFFSET {skip:UInt32}
