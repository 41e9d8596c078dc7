-- In which hours of a long window the rollups say anything of each base edge.
--
-- Windows, tables and inputs as in edge_totals.sql.
-- Output: one row per edge_id and block of two days, counted from `origin`; `hours` has a bit for each hour of the block.
WITH
    -- An empty table keeps nothing: then everything older comes from the coarser one.
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1m) AS minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1h) AS hours_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1m) AS derived_minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1h) AS derived_hours_kept_from,
    edge_rows AS (
        SELECT edge_id, minute AS t, toUInt64(bitShiftLeft(toUInt32(1), toHour(minute))) AS hours_of_day
        FROM base_edges_1m
        WHERE ((minute >= {since:DateTime64(0, 'UTC')} AND minute < {tens_since:DateTime64(0, 'UTC')})
                OR (minute >= {tens_until:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, start AS t, toUInt64(bitShiftLeft(toUInt32(1), toHour(start))) AS hours_of_day
        FROM base_edges_10m
        WHERE ((start >= {tens_since:DateTime64(0, 'UTC')} AND start < {hours_since:DateTime64(0, 'UTC')})
                OR (start >= {hours_until:DateTime64(0, 'UTC')} AND start < {tens_until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, hour AS t, toUInt64(bitShiftLeft(toUInt32(1), toHour(hour))) AS hours_of_day
        FROM base_edges_1h
        WHERE ((hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {sixes_since:DateTime64(0, 'UTC')})
                OR (hour >= {sixes_until:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
                OR (received_on < minutes_kept_from
                    AND ((hour >= toStartOfHour({since:DateTime64(0, 'UTC')}) AND hour < {hours_since:DateTime64(0, 'UTC')})
                        OR (hour >= {hours_until:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}))))
        UNION ALL
        SELECT edge_id, start AS t, toUInt64(hours) AS hours_of_day
        FROM base_edges_6h
        WHERE ((start >= {sixes_since:DateTime64(0, 'UTC')} AND start < {days_since:DateTime64(0, 'UTC')})
                OR (start >= {days_until:DateTime64(0, 'UTC')} AND start < {sixes_until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, day AS t, toUInt64(hours) AS hours_of_day
        FROM edges_1d
        WHERE ((day >= {days_since:DateTime64(0, 'UTC')} AND day < {days_until:DateTime64(0, 'UTC')})
                OR (received_on < hours_kept_from AND day >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND day < {until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT base_edge_id AS edge_id, minute AS t, toUInt64(bitShiftLeft(toUInt32(1), toHour(minute))) AS hours_of_day
        FROM derived_edges_1m
        WHERE ((minute >= {since:DateTime64(0, 'UTC')} AND minute < {hours_since:DateTime64(0, 'UTC')})
                OR (minute >= {hours_until:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
            AND (kind, minute, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1m' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT base_edge_id AS edge_id, hour AS t, toUInt64(bitShiftLeft(toUInt32(1), toHour(hour))) AS hours_of_day
        FROM derived_edges_1h
        WHERE ((hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {days_since:DateTime64(0, 'UTC')})
                OR (hour >= {days_until:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
                OR (derived_on < derived_minutes_kept_from
                    AND ((hour >= toStartOfHour({since:DateTime64(0, 'UTC')}) AND hour < {hours_since:DateTime64(0, 'UTC')})
                        OR (hour >= {hours_until:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}))))
            AND (kind, hour, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1h' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT edge_id, day AS t, toUInt64(hours) AS hours_of_day
        FROM derived_edges_1d
        WHERE ((day >= {days_since:DateTime64(0, 'UTC')} AND day < {days_until:DateTime64(0, 'UTC')})
                OR (derived_on < derived_hours_kept_from AND day >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND day < {until:DateTime64(0, 'UTC')}))
            AND (kind, day, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1d' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
    )
SELECT
    edge_id,
    toUInt32(intDiv(intDiv(toUnixTimestamp(t) - toUnixTimestamp({origin:DateTime64(0, 'UTC')}), 86400) AS day_number, 2)) AS block,
    groupBitOr(bitShiftLeft(hours_of_day, toUInt8(24 * (day_number % 2)))) AS hours
FROM edge_rows
GROUP BY edge_id, block
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
