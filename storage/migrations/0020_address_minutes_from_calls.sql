-- What a batch of calls adds to its minutes; start lines count nowhere.
CREATE MATERIALIZED VIEW address_minutes_from_calls TO address_minutes AS
SELECT
    toStartOfMinute(ts) AS minute,
    toDate(max(received_at)) AS received_on,
    count() AS records
FROM calls
WHERE edge_id = 0
    AND log_type IN ('', 'request', 'connection_end')
    AND (destination_ip != toIPv6('::') OR destination_workload != '' OR destination_service != '' OR destination_principal != '')
GROUP BY minute
