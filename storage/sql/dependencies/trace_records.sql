-- How many spans of some minutes are still stored, counted as span_minutes counts them when they arrive.
-- Inputs: minutes (their starts), since, until (UTC seconds, what they lie in), row_limit (rows). Output: minute, records.
SELECT toStartOfMinute(ts) AS minute, count() AS records
FROM spans
WHERE ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}
    AND toStartOfMinute(ts) IN {minutes:Array(DateTime('UTC'))}
GROUP BY minute
LIMIT {row_limit:UInt64}
