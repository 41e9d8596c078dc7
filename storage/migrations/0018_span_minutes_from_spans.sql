-- What a batch of spans adds to its minutes.
CREATE MATERIALIZED VIEW span_minutes_from_spans TO span_minutes AS
SELECT
    toStartOfMinute(ts) AS minute,
    toDate(max(received_at)) AS received_on,
    count() AS records
FROM spans
GROUP BY minute
