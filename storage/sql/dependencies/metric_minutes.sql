-- Minutes that hold metric points of edges and touch [since, until), with how many.
-- Inputs: since, until (UTC seconds), row_limit (rows). Output: minute, records.
SELECT minute, sum(records) AS records
FROM metric_minutes
WHERE minute > {since:DateTime64(0, 'UTC')} - toIntervalMinute(1) AND minute < {until:DateTime64(0, 'UTC')}
GROUP BY minute
ORDER BY minute
LIMIT {row_limit:UInt64}
