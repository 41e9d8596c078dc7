-- What could not be decoded and was not replayed since, newest first, for people who look for the reason.
-- In: since, until (UTC, arrival, until exclusive), source (name; empty = all), limit (rows).
-- Out: received_at, source, partition, offset, record, format, reason, payload (bytes, maybe cut), payload_bytes.
SELECT received_at, source, partition, offset, record, format, reason, payload, payload_bytes
FROM dead_letters
WHERE received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
    AND ({source:String} = '' OR source = {source:String})
    AND (source, partition, received_at, offset, record, sipHash64(payload)) NOT IN (
        SELECT source, partition, received_at, offset, record, payload_hash
        FROM dead_letter_replays
        WHERE step = 'letter'
            AND received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
    )
ORDER BY received_at DESC, source, partition, offset, record
LIMIT {limit:UInt32}
