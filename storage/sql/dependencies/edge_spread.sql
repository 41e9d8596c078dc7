-- How the counted requests of base edges are spread over statuses, faults and durations.
--
-- Windows and tables as in edge_totals.sql. The quantiles are nearest-rank ones: the buckets of all rows of an edge are sorted,
-- each with its count below it in one number (48 bits), and counted up. Merging maps takes six times as long, and an aggregate
-- function of weighted quantiles twice. (A level a hair below: n * level may come out above a whole number.)
--
-- Nearly always the source's or gateway's lines count, so the edges whose lines do not, and the others whose do, are few:
-- thousands of ids as literals would take longer to read than the rows.
-- Inputs: those of edge_totals.sql but origin. exceptions: edge ids of sources and gateways that do not count, and of others
-- that do. several: edge ids that are put together under one label each (labels, edge ids too). None of these lists is empty:
-- 0 is no edge's id.
-- Output: one row per label, which is the edge id where nothing is put together; statuses, grpc_statuses and faults are
-- sorted (key, count) lists.
WITH
    -- An empty table keeps nothing: then everything older comes from the coarser one.
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1m) AS minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1h) AS hours_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1m) AS derived_minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1h) AS derived_hours_kept_from,
    edge_rows AS (
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(bucket + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
        FROM base_edges_1m
        WHERE ((minute >= {since:DateTime64(0, 'UTC')} AND minute < {tens_since:DateTime64(0, 'UTC')})
                OR (minute >= {tens_until:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(bucket + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
        FROM base_edges_10m
        WHERE ((start >= {tens_since:DateTime64(0, 'UTC')} AND start < {hours_since:DateTime64(0, 'UTC')})
                OR (start >= {hours_until:DateTime64(0, 'UTC')} AND start < {tens_until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(bucket + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
        FROM base_edges_1h
        WHERE ((hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {sixes_since:DateTime64(0, 'UTC')})
                OR (hour >= {sixes_until:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
                OR (received_on < minutes_kept_from
                    AND ((hour >= toStartOfHour({since:DateTime64(0, 'UTC')}) AND hour < {hours_since:DateTime64(0, 'UTC')})
                        OR (hour >= {hours_until:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}))))
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(bucket + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
        FROM base_edges_6h
        WHERE ((start >= {sixes_since:DateTime64(0, 'UTC')} AND start < {days_since:DateTime64(0, 'UTC')})
                OR (start >= {days_until:DateTime64(0, 'UTC')} AND start < {sixes_until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(if(bucket <= 0, bucket, 5 * bucket - 2) + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
        FROM edges_1d
        WHERE ((day >= {days_since:DateTime64(0, 'UTC')} AND day < {days_until:DateTime64(0, 'UTC')})
                OR (received_on < hours_kept_from AND day >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND day < {until:DateTime64(0, 'UTC')}))
        UNION ALL
        SELECT base_edge_id AS edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(bucket + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
        FROM derived_edges_1m
        WHERE ((minute >= {since:DateTime64(0, 'UTC')} AND minute < {hours_since:DateTime64(0, 'UTC')})
                OR (minute >= {hours_until:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
            AND (kind, minute, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1m' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT base_edge_id AS edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(bucket + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
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
        SELECT edge_id, statuses, grpc_statuses, faults,
            arrayMap((bucket, n) -> bitOr(bitShiftLeft(toUInt64(if(bucket <= 0, bucket, 5 * bucket - 2) + 1), 48), n), mapKeys(histogram), mapValues(histogram)) AS hits
        FROM derived_edges_1d
        WHERE ((day >= {days_since:DateTime64(0, 'UTC')} AND day < {days_until:DateTime64(0, 'UTC')})
                OR (derived_on < derived_hours_kept_from AND day >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND day < {until:DateTime64(0, 'UTC')}))
            AND (kind, day, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1d' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
    )
SELECT
    label,
    statuses,
    grpc_statuses,
    faults,
    [toInt32(bitShiftRight(hits[arrayFirstIndex(n -> n >= middle, reached)], 48)) - 1,
        toInt32(bitShiftRight(hits[arrayFirstIndex(n -> n >= high, reached)], 48)) - 1,
        toInt32(bitShiftRight(hits[arrayFirstIndex(n -> n >= highest, reached)], 48)) - 1] AS quantile_buckets
FROM (
    -- Ranks are columns of their own: a lambda copies what it refers to for every element.
    SELECT label, statuses, grpc_statuses, faults, hits,
        arrayCumSum(hit -> bitAnd(hit, 281474976710655), hits) AS reached,
        toUInt64(ceil(reached[-1] * 0.4999999999)) AS middle,
        toUInt64(ceil(reached[-1] * 0.9499999999)) AS high,
        toUInt64(ceil(reached[-1] * 0.9899999999)) AS highest
    FROM (
        SELECT
            transform(edge_id, {several:Array(UInt64)}, {labels:Array(UInt64)}, edge_id) AS label,
            sumMap(statuses) AS statuses,
            sumMap(grpc_statuses) AS grpc_statuses,
            sumMap(faults) AS faults,
            arraySort(groupArrayArray(hits)) AS hits
        FROM edge_rows
        WHERE (edge_id IN (SELECT edge_id FROM edge_keys WHERE operation = '' AND reporter IN ('source', 'gateway')))
            != (edge_id IN {exceptions:Array(UInt64)})
        GROUP BY label
        LIMIT {row_limit:UInt64}
    )
)
SETTINGS prefer_column_name_to_alias = 1
