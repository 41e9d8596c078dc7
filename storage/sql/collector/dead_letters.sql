-- What could not be decoded, newest first, for people who look for the reason.
-- In: since, until (UTC, arrival, until exclusive), source (name; empty = all), limit (rows).
-- Out: received_at, source, partition, offset, record, format, reason, payload (bytes, maybe cut), payload_bytes.
SELECT received_at, source, partition, offset, record, format, reason, payload, payload_bytes
FROM dead_letters
WHERE received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
    AND ({source:String} = '' OR source = {source:String})
ORDER BY received_at DESC, source, partition, offset, record
LIMIT {limit:UInt32}
