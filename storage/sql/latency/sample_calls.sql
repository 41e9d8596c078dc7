-- Calls of some edges whose duration lies in a span: slow ones, or typical ones, to look at.
-- Inputs: ids (edge ids), since, until (UTC, [since, until)), low_us, high_us (us), row_limit (rows).
-- Output: id (trace id, else request id), longest_us; the slowest first.
SELECT if(trace_id != '', trace_id, request_id) AS id, max(duration_us) AS longest_us
FROM calls
WHERE edge_id IN {ids:Array(UInt64)}
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND duration_us >= {low_us:UInt64} AND duration_us < {high_us:UInt64}
    AND (trace_id != '' OR request_id != '')
GROUP BY id
ORDER BY longest_us DESC, id
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
