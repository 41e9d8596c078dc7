-- The lines of one trace.
-- Inputs: trace_id (32 hex digits), since, until (UTC, [since, until)), row_limit (rows). Output: the columns of calls, oldest first.
-- Index: by_trace (a false positive in a hundred); without a time range every part's index is read, about a byte a call.
SELECT *
FROM calls
WHERE trace_id = {trace_id:String}
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
ORDER BY ts
LIMIT {row_limit:UInt32}
