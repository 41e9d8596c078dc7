-- What a batch of calls adds to its minutes; start lines count nowhere.
CREATE MATERIALIZED VIEW address_minutes_from_calls TO address_minutes AS
SELECT
    toStartOfMinute(ts) AS minute,
    toDate(max(received_at)) AS received_on,
    count() AS records
FROM calls
WHERE edge_id = 0 AND log_type != 'connection_start'
GROUP BY minute
