-- Minutes after [since, until), within the horizon, whose metric points continue a series or a target with points in it:
-- what they count more than the point before them may change although their own points did not.
-- Inputs: since, until (UTC seconds, whole minutes), horizon_s (seconds), row_limit (rows). Output: minute, records.
SELECT minute, sum(records) AS records
FROM metric_minutes
WHERE minute IN (
    SELECT DISTINCT minute
    FROM metric_samples
    WHERE minute >= {until:DateTime64(0, 'UTC')}
        AND minute <= {until:DateTime64(0, 'UTC')} + toIntervalSecond({horizon_s:UInt32})
        AND target IN (
            SELECT target FROM metric_samples
            WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
GROUP BY minute
ORDER BY minute
LIMIT {row_limit:UInt64}
