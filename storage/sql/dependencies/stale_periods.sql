-- Hours or days of derived edges that are older than something they sum: what a run that died before its end left behind.
-- Inputs: edge_kind, fine_grain (1m or 1h), coarse_grain (1h or 1d), row_limit (rows). Output: period, oldest first.
SELECT fine.period AS period
FROM (
    SELECT
        if({coarse_grain:String} = '1d', toDateTime64(toStartOfDay(period), 0, 'UTC'), toDateTime64(toStartOfHour(period), 0, 'UTC')) AS period,
        max(generation) AS generation
    FROM derived_periods
    WHERE kind = {edge_kind:String} AND grain = {fine_grain:String}
    GROUP BY period
) AS fine
LEFT JOIN (
    SELECT period, max(generation) AS generation
    FROM derived_periods
    WHERE kind = {edge_kind:String} AND grain = {coarse_grain:String}
    GROUP BY period
) AS coarse ON fine.period = coarse.period
WHERE fine.generation > coarse.generation
ORDER BY period
LIMIT {row_limit:UInt64}
