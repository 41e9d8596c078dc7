-- What one rollup says of each base edge, day by day: sums, and the hours in which it says anything.
-- Which rollups make up a window stands in analyzers/dependencies/windows.py; each is read alone, since planning a union of
-- all of them takes longer than reading.
-- Inputs: rollup (table), time, edge and arrived (its columns of the period's start, the base edge, the arrival day);
-- since..until and again_since..again_until (UTC seconds): two ranges of periods; before: arrival days before this one only;
-- row_limit (rows).
-- Output: one row per base edge (id) and day (number since 1970); `hours` has a bit for each hour of the day.
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
GROUP BY id, day
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
