-- Dead letters that were not replayed, counted by where they came from, so that one broken sender stands out.
-- In: since, until (UTC, arrival, until exclusive), source (name; empty = all), limit (rows).
-- Out: source, format, dead_letters (count), first_seen, last_seen (arrival).
SELECT source, format, count() AS dead_letters, min(received_at) AS first_seen, max(received_at) AS last_seen
FROM dead_letters
WHERE received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
    AND ({source:String} = '' OR source = {source:String})
    AND (source, partition, received_at, offset, record, sipHash64(payload)) NOT IN (
        SELECT source, partition, received_at, offset, record, payload_hash
        FROM dead_letter_replays
        WHERE step = 'letter'
            AND received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
    )
GROUP BY source, format
ORDER BY dead_letters DESC, source, format
LIMIT {limit:UInt32}
