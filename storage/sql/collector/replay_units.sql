-- Batches that left dead letters which nobody replayed, or whose replay was begun and did not end, newest first.
-- In: since, until (UTC, arrival of the letters, until exclusive), source (name; empty = all), limit (rows).
-- Out: received_at, source, partition.
SELECT received_at, source, partition
FROM (
    SELECT received_at, source, partition
    FROM dead_letters
    WHERE received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
        AND ({source:String} = '' OR source = {source:String})
        AND (source, partition, received_at, offset, record, sipHash64(payload)) NOT IN (
            SELECT source, partition, received_at, offset, record, payload_hash
            FROM dead_letter_replays
            WHERE step = 'letter'
                AND received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
        )
    UNION ALL
    SELECT received_at, source, partition
    FROM dead_letter_replays
    WHERE received_at >= {since:DateTime64(6, 'UTC')} AND received_at < {until:DateTime64(6, 'UTC')}
        AND ({source:String} = '' OR source = {source:String})
    GROUP BY received_at, source, partition, attempt
    HAVING countIf(step = 'done') = 0
)
GROUP BY received_at, source, partition
ORDER BY received_at DESC, source, partition
LIMIT {limit:UInt32}
