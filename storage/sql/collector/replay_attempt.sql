-- The last attempt to replay a batch's dead letters, if there was one. Of writers that raced the first one's rows stand
-- (one token for them all).
-- In: source, partition, received_at (UTC, arrival of the letters).
-- Out: attempt, replayed_at (UTC, given to its rows), decoder, state, writer, is_done.
SELECT
    attempt,
    anyIf(replayed_at, step = 'letter') AS replayed_at,
    anyIf(decoder, step = 'letter') AS decoder,
    anyIf(state, step = 'letter') AS state,
    anyIf(writer, step = 'letter') AS writer,
    countIf(step = 'done') > 0 AS is_done
FROM dead_letter_replays
WHERE source = {source:String} AND partition = {partition:Int32}
    AND received_at = {received_at:DateTime64(6, 'UTC')}
GROUP BY attempt
ORDER BY attempt DESC
LIMIT 1
