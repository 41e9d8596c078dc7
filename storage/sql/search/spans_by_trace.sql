-- The spans of one trace.
-- Inputs: trace_id (32 hex digits), since, until (UTC, [since, until)), row_limit (rows). Output: the columns of spans, oldest first.
-- Index: by_trace.
SELECT *
FROM spans
WHERE trace_id = {trace_id:String}
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
ORDER BY ts
LIMIT {row_limit:UInt32}
