-- How many metric samples of some minutes are still stored, counted as metric_minutes counts them when they arrive.
-- Inputs: minutes (their starts), since, until (UTC seconds, what they lie in), row_limit (rows). Output: minute, records.
SELECT minute, count() AS records
FROM metric_samples
WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
    AND toDateTime(minute) IN {minutes:Array(DateTime('UTC'))}
GROUP BY minute
LIMIT {row_limit:UInt64}
