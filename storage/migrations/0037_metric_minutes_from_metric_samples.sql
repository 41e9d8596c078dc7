-- What a batch of metric points adds to its minutes (views chain).
CREATE MATERIALIZED VIEW metric_minutes_from_metric_samples TO metric_minutes AS
SELECT
    minute,
    max(received_on) AS received_on,
    count() AS records
FROM metric_samples
GROUP BY minute
