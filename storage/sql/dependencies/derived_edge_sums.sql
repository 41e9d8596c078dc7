-- edge_sums.sql for a rollup of derived edges: rows of the current generation only.
-- Inputs: those of edge_sums.sql; grain ('1m', '1h' or '1d'), by which derived_periods knows the rollup.
-- Output: that of edge_sums.sql.
WITH
    -- Rollups longer than an hour have this column; in others a period lies within one hour.
    toUInt32(0) AS hours
SELECT
    {edge:Identifier} AS id,
    toUInt16(toDate({time:Identifier})) AS day,
    groupBitOr(toUInt64(if(hours = 0, bitShiftLeft(toUInt32(1), toHour({time:Identifier})), toUInt32(hours)))) AS hours_of_day,
    sum(requests) AS requests,
    sum(errors) AS errors,
    sum(denied) AS denied,
    sum(timed) AS timed,
    sum(sized) AS sized,
    sum(bytes_sent) AS bytes_sent,
    sum(bytes_received) AS bytes_received,
    toUnixTimestamp64Micro(min(first_ts)) AS first_us,
    toUnixTimestamp64Micro(max(last_ts)) AS last_us
FROM {rollup:Identifier}
WHERE {arrived:Identifier} < {before:Date}
    AND (({time:Identifier} >= {since:DateTime64(0, 'UTC')} AND {time:Identifier} < {until:DateTime64(0, 'UTC')})
        OR ({time:Identifier} >= {again_since:DateTime64(0, 'UTC')} AND {time:Identifier} < {again_until:DateTime64(0, 'UTC')}))
    AND (kind, {time:Identifier}, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE grain = {grain:String}
            AND ((period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')})
                OR (period >= {again_since:DateTime64(0, 'UTC')} AND period < {again_until:DateTime64(0, 'UTC')}))
        GROUP BY kind, period)
GROUP BY id, day
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
