-- How many calls of some minutes that know an end by address only are still stored, counted as address_minutes counts
-- them when they arrive. (Where edge_id is 0, base_edge_id is too: by both the index finds them.)
-- Inputs: minutes (their starts), since, until (UTC seconds, what they lie in), row_limit (rows). Output: minute, records.
SELECT toStartOfMinute(ts) AS minute, count() AS records
FROM calls
WHERE base_edge_id = 0 AND edge_id = 0 AND log_type IN ('', 'request', 'connection_end')
    AND (destination_ip != toIPv6('::') OR destination_workload != '' OR destination_service != ''
        OR destination_principal != '')
    AND ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}
    AND toStartOfMinute(ts) IN {minutes:Array(DateTime('UTC'))}
GROUP BY minute
LIMIT {row_limit:UInt64}
