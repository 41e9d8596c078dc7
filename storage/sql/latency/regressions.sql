-- Regressions and anomalies whose episode overlaps a window, as found last; the latest first.
-- In: since, until, ids (empty = all), row_limit (rows). Out: the columns of `regressions`.
SELECT
    id, verdict, what, shape, source, destination, operation, reporters, evidence, since AS began, last_seen, ended, told_at,
    before_us, after_us, before_requests, after_requests, before_errors, after_errors,
    ratio, ratio_low, ratio_high, p_value, superiority, distance, score, tested, causes, stages,
    explains, explained_by, slow_ids, typical_ids
FROM regressions FINAL
WHERE
    greatest(last_seen, ended) >= {since:DateTime64(6)} AND regressions.since < {until:DateTime64(6)}
    AND (empty({ids:Array(String)}) OR has({ids:Array(String)}, id))
ORDER BY began DESC, id
LIMIT {row_limit:UInt64}
