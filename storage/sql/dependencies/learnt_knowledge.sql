-- What telemetry taught of addresses, as one number for each hour that it bears on: minutes of an hour whose number changes are
-- derived again, and no others. In: row_limit (rows). Out: hour, knowledge.
SELECT
    hour,
    groupBitXor(cityHash64(cluster, name, namespace, workload, service, version,
        greatest(valid_from, toDateTime64(hour, 6, 'UTC')), least(valid_to, toDateTime64(hour, 6, 'UTC') + toIntervalHour(1)))) AS knowledge
FROM (
    SELECT
        cluster, name, namespace, workload, service, version, valid_from, valid_to,
        arrayJoin(arrayMap(
            step -> toDateTime64(toStartOfHour(valid_from), 0, 'UTC') + toIntervalHour(step),
            range(least(dateDiff('hour', valid_from, valid_to) + 1, 20000)))) AS hour
    FROM aliases FINAL
    WHERE evidence = 'telemetry' AND valid_from < valid_to
)
WHERE toDateTime64(hour, 6, 'UTC') < valid_to
GROUP BY hour
ORDER BY hour
LIMIT {row_limit:UInt64}
