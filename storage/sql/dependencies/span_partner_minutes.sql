-- Minutes that hold a partner (parent, child or shared span) of a span in [since, until), within the horizon:
-- their edges may change although their own spans did not.
-- Few spans elsewhere are of the same traces: only of these are the ids compared.
-- Inputs: since, until (UTC seconds, whole minutes), horizon_s (seconds), row_limit (rows). Output: minute, records.
WITH
    own AS (
        SELECT
            cityHash64(trace_id) AS trace, cityHash64(trace_id, span_id) AS id,
            if(parent_span_id = '', 0, cityHash64(trace_id, parent_span_id)) AS parent
        FROM spans
        WHERE ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')} AND trace_id != ''
    ),
    others AS (
        SELECT DISTINCT
            toStartOfMinute(ts) AS minute, cityHash64(trace_id, span_id) AS id,
            if(parent_span_id = '', 0, cityHash64(trace_id, parent_span_id)) AS parent
        FROM spans
        WHERE cityHash64(trace_id) IN (SELECT trace FROM own)
            AND ((ts >= {since:DateTime64(0, 'UTC')} - toIntervalSecond({horizon_s:UInt32}) AND ts < {since:DateTime64(0, 'UTC')})
                OR (ts >= {until:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')} + toIntervalSecond({horizon_s:UInt32})))
            AND trace_id != ''
    ),
    touched AS (
        SELECT DISTINCT minute
        FROM others
        WHERE id IN (SELECT parent FROM own WHERE parent != 0)
            OR parent IN (SELECT id FROM own)
            OR id IN (SELECT id FROM own)
    )
SELECT minute, sum(records) AS records
FROM span_minutes
WHERE minute IN (SELECT minute FROM touched)
GROUP BY minute
ORDER BY minute
LIMIT {row_limit:UInt64}
