-- How evenly the calls of every edge and operation came: what tells a change of rate from the usual unevenness.
-- Slots are made of minutes, or of hours where slot_s is at least 3600. A slot in which nothing came counts as 0 between the first and the last
-- one in which something did. Half the mean square of the steps from slot to slot is the variance of a slot around a level
-- that may drift (J. von Neumann et al., "The Mean Square Successive Difference", 1941).
-- External: edge_nodes, as in edge_numbers.sql.
-- Inputs: since, until (UTC seconds), slot_s (seconds), row_limit (rows).
-- Output: per edge (node numbers), evidence and operation, of the reporters that count: calls, slots (from the first with a
-- call to the last), squares (sum of the squared steps).
WITH
    edge_rows AS (
        SELECT minute AS t, edge_id, base_edge_id, requests
        FROM edges_1m
        WHERE {slot_s:UInt32} < 3600 AND minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
        UNION ALL
        SELECT hour AS t, edge_id, base_edge_id, requests
        FROM edges_1h
        WHERE {slot_s:UInt32} >= 3600 AND hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
        UNION ALL
        SELECT minute AS t, edge_id, base_edge_id, requests
        FROM derived_edges_1m
        WHERE {slot_s:UInt32} < 3600 AND minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
            AND (kind, minute, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1m' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT hour AS t, edge_id, base_edge_id, requests
        FROM derived_edges_1h
        WHERE {slot_s:UInt32} >= 3600 AND hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
            AND (kind, hour, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1h' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
    ),
    by_slot AS (
        SELECT
            k.source AS source, k.destination AS destination, k.evidence AS evidence, o.operation AS operation,
            10 * (k.protocol != 'tcp') + k.rank AS merit,
            intDiv(toUnixTimestamp(r.t), {slot_s:UInt32}) AS slot,
            toInt64(sum(r.requests)) AS requests
        FROM edge_rows AS r
        INNER JOIN edge_nodes AS k ON r.base_edge_id = k.edge_id
        LEFT JOIN (SELECT edge_id, any(operation) AS operation FROM edge_keys GROUP BY edge_id) AS o ON r.edge_id = o.edge_id
        WHERE r.t >= k.valid_from AND r.t < k.valid_to
        GROUP BY k.source, k.destination, k.evidence, o.operation, merit, slot
    ),
    counted AS (
        SELECT source, destination, evidence, operation, arraySort(groupArray((slot, requests))) AS steps
        FROM (SELECT *, max(merit) OVER (PARTITION BY source, destination, evidence) AS best FROM by_slot)
        WHERE merit = best AND requests > 0
        GROUP BY source, destination, evidence, operation
    )
SELECT
    source,
    destination,
    evidence,
    operation,
    toUInt64(arraySum(step -> step.2, steps)) AS calls,
    toUInt64(steps[-1].1 - steps[1].1 + 1) AS slots,
    toFloat64(arraySum(
        (one, next) -> if(next.1 = one.1 + 1, pow(next.2 - one.2, 2), pow(one.2, 2) + pow(next.2, 2)),
        arrayPopBack(steps), arrayPopFront(steps))) AS squares
FROM counted
ORDER BY source, destination, evidence, operation
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
