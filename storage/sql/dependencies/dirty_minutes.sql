-- Minutes whose derived edges do not stand for what is stored now, oldest first.
-- Trace edges depend on the spans of the minute; address edges also on what the alias table knows: of the inventory (`knowledge`),
-- and of the minute's hour (external table learnt_knowledge: hour, knowledge).
-- Inputs: edge_kind (trace, address or metric), until (only minutes before it; UTC seconds), knowledge, row_limit (rows).
-- Output: minute, records (how many the minute holds now).
SELECT now_stored.minute AS minute, now_stored.records AS records
FROM (
    SELECT minute, sum(records) AS records FROM span_minutes
    WHERE {edge_kind:String} = 'trace' AND minute < {until:DateTime64(0, 'UTC')}
    GROUP BY minute
    UNION ALL
    SELECT minute, sum(records) AS records FROM address_minutes
    WHERE {edge_kind:String} = 'address' AND minute < {until:DateTime64(0, 'UTC')}
    GROUP BY minute
    UNION ALL
    SELECT minute, sum(records) AS records FROM metric_minutes
    WHERE {edge_kind:String} = 'metric' AND minute < {until:DateTime64(0, 'UTC')}
    GROUP BY minute
) AS now_stored
LEFT JOIN (
    SELECT period AS minute, argMax(records, generation) AS records, argMax(knowledge, generation) AS knowledge
    FROM derived_periods
    WHERE kind = {edge_kind:String} AND grain = '1m'
    GROUP BY period
) AS derived ON now_stored.minute = derived.minute
LEFT JOIN learnt_knowledge AS learnt ON toStartOfHour(now_stored.minute) = learnt.hour
WHERE now_stored.records != derived.records OR derived.knowledge != bitXor({knowledge:UInt64}, learnt.knowledge)
ORDER BY minute
LIMIT {row_limit:UInt64}
