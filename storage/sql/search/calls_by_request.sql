-- The lines of one request: both sides' proxies, and every hop that passed the id on.
-- Inputs: request_id, since, until (UTC, [since, until)), row_limit (rows). Output: the columns of calls, oldest first.
-- Index: by_request, as by_trace in calls_by_trace.
SELECT *
FROM calls
WHERE request_id = {request_id:String}
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
ORDER BY ts
LIMIT {row_limit:UInt32}
