-- How long the calls of a regression's edges took, minute by minute, from the hour before it on.
-- Buckets: 0 us, then factors of 1.0202 (storage/migrations/0009_edges_1m.sql); a quantile is the value of its bucket.
-- In: edges (edge ids), since, until (UTC), row_limit (rows). Out: minute, requests, errors, p50_ms, p95_ms.
WITH
    (counts, share) -> arrayFirstIndex(x -> x >= share * arraySum(counts), arrayCumSum(counts)) AS place,
    bucket -> if(bucket < 0, 0., 2 * pow(1.01 / 0.99, bucket) / (1.01 / 0.99 + 1) / 1000) AS value_ms
SELECT
    minute,
    sum(requests) AS requests,
    sum(errors) AS errors,
    arraySort(x -> x.1, CAST(sumMap(histogram), 'Array(Tuple(Int16, UInt64))')) AS merged,
    round(value_ms(merged[place(merged.2, 0.5)].1), 3) AS p50_ms,
    round(value_ms(merged[place(merged.2, 0.95)].1), 3) AS p95_ms
FROM edges_1m
WHERE edge_id IN {edges:Array(UInt64)} AND minute >= {since:DateTime64(6, 'UTC')} AND minute < {until:DateTime64(6, 'UTC')}
GROUP BY minute
ORDER BY minute
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
