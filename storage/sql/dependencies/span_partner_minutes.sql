-- Minutes that hold a partner (parent, child or shared span) of a span in [since, until), within the horizon:
-- their edges may change although their own spans did not.
-- Inputs: since, until (UTC seconds, whole minutes), horizon_s (seconds), row_limit (rows). Output: minute, records.
WITH
    near AS (
        SELECT ts, cityHash64(trace_id) AS trace, span_id, parent_span_id
        FROM spans
        WHERE ts >= {since:DateTime64(0, 'UTC')} - toIntervalSecond({horizon_s:UInt32})
            AND ts < {until:DateTime64(0, 'UTC')} + toIntervalSecond({horizon_s:UInt32})
            AND trace_id != ''
    ),
    own AS (
        SELECT * FROM near WHERE ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}
    ),
    touched AS (
        SELECT DISTINCT toStartOfMinute(ts) AS minute
        FROM near
        WHERE (ts < {since:DateTime64(0, 'UTC')} OR ts >= {until:DateTime64(0, 'UTC')})
            AND ((trace, span_id) IN (SELECT trace, parent_span_id FROM own)
                OR (trace, parent_span_id) IN (SELECT trace, span_id FROM own)
                OR (trace, span_id) IN (SELECT trace, span_id FROM own))
    )
SELECT minute, sum(records) AS records
FROM span_minutes
WHERE minute IN (SELECT minute FROM touched)
GROUP BY minute
ORDER BY minute
LIMIT {row_limit:UInt64}
