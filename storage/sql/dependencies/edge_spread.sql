-- How the counted requests of groups of base edges are spread over statuses, faults and durations.
--
-- Windows and tables as in edge_totals.sql. The quantiles are nearest-rank ones of the places of histogram buckets (place 0
-- is bucket -1): quantilesTiming counts whole numbers below 1024 exactly, one by one, which takes a tenth of the time of
-- merging maps. (A level a hair below: of few values it takes the one after rank n * level where that is whole, else the
-- nearest rank.) Durations above 13 minutes have higher places: `top` tells where that happened.
-- Inputs: those of edge_totals.sql but origin; edge_ids and, for each, the number (from 1) of its group.
-- Output: one row per group; statuses, grpc_statuses and faults are sorted (key, count) lists.
WITH
    -- An empty table keeps nothing: then everything older comes from the coarser one.
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1m) AS minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1h) AS hours_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1m) AS derived_minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1h) AS derived_hours_kept_from,
    edge_rows AS (
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap(b -> toUInt16(b + 1), mapKeys(histogram)) AS places, mapValues(histogram) AS counts
        FROM base_edges_1m
        WHERE edge_id IN {edge_ids:Array(UInt64)}
            AND ((minute >= {since:DateTime64(0, 'UTC')} AND minute < {tens_since:DateTime64(0, 'UTC')})
                OR (minute >= {tens_until:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap(b -> toUInt16(b + 1), mapKeys(histogram)) AS places, mapValues(histogram) AS counts
        FROM base_edges_10m
        WHERE edge_id IN {edge_ids:Array(UInt64)}
            AND ((start >= {tens_since:DateTime64(0, 'UTC')} AND start < {hours_since:DateTime64(0, 'UTC')})
                OR (start >= {hours_until:DateTime64(0, 'UTC')} AND start < {tens_until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap(b -> toUInt16(b + 1), mapKeys(histogram)) AS places, mapValues(histogram) AS counts
        FROM base_edges_1h
        WHERE edge_id IN {edge_ids:Array(UInt64)}
            AND ((hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {days_since:DateTime64(0, 'UTC')})
                OR (hour >= {days_until:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
                OR (received_on < minutes_kept_from
                    AND ((hour >= toStartOfHour({since:DateTime64(0, 'UTC')}) AND hour < {hours_since:DateTime64(0, 'UTC')})
                        OR (hour >= {hours_until:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}))))
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap(b -> toUInt16(if(b <= 0, b + 1, 5 * b - 1)), mapKeys(histogram)) AS places, mapValues(histogram) AS counts
        FROM edges_1d
        WHERE edge_id IN {edge_ids:Array(UInt64)}
            AND ((day >= {days_since:DateTime64(0, 'UTC')} AND day < {days_until:DateTime64(0, 'UTC')})
                OR (received_on < hours_kept_from AND day >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND day < {until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT base_edge_id AS edge_id, statuses, grpc_statuses, faults,
            arrayMap(b -> toUInt16(b + 1), mapKeys(histogram)) AS places, mapValues(histogram) AS counts
        FROM derived_edges_1m
        WHERE base_edge_id IN {edge_ids:Array(UInt64)}
            AND ((minute >= {since:DateTime64(0, 'UTC')} AND minute < {hours_since:DateTime64(0, 'UTC')})
                OR (minute >= {hours_until:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
            AND (kind, minute, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1m' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT base_edge_id AS edge_id, statuses, grpc_statuses, faults,
            arrayMap(b -> toUInt16(b + 1), mapKeys(histogram)) AS places, mapValues(histogram) AS counts
        FROM derived_edges_1h
        WHERE base_edge_id IN {edge_ids:Array(UInt64)}
            AND ((hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {days_since:DateTime64(0, 'UTC')})
                OR (hour >= {days_until:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
                OR (derived_on < derived_minutes_kept_from
                    AND ((hour >= toStartOfHour({since:DateTime64(0, 'UTC')}) AND hour < {hours_since:DateTime64(0, 'UTC')})
                        OR (hour >= {hours_until:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}))))
            AND (kind, hour, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1h' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap(b -> toUInt16(if(b <= 0, b + 1, 5 * b - 1)), mapKeys(histogram)) AS places, mapValues(histogram) AS counts
        FROM derived_edges_1d
        WHERE edge_id IN {edge_ids:Array(UInt64)}
            AND ((day >= {days_since:DateTime64(0, 'UTC')} AND day < {days_until:DateTime64(0, 'UTC')})
                OR (derived_on < derived_hours_kept_from AND day >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND day < {until:DateTime64(0, 'UTC')}))
            AND (kind, day, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1d' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
    )
SELECT
    transform(edge_id, {edge_ids:Array(UInt64)}, {groups:Array(UInt32)}, toUInt32(0)) AS group_number,
    sumMap(statuses) AS statuses,
    sumMap(grpc_statuses) AS grpc_statuses,
    sumMap(faults) AS faults,
    quantilesTimingWeightedArray(0.4999999999, 0.9499999999, 0.9899999999)(places, counts) AS quantile_places,
    max(arrayMax(places)) AS top
FROM edge_rows
GROUP BY group_number
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
