-- Findings whose episode overlaps a window, as found last; the latest first.
-- In: since, until, kinds (empty = all), row_limit (rows). Out: the columns of `findings`.
SELECT
    id, kind, severity, title, source, destination, operation, principal, first_seen, last_seen, score, threshold,
    techniques, sql, parameters, request_ids, trace_ids, false_alarm_if, details
FROM findings FINAL
WHERE
    last_seen >= {since:DateTime64(6)} AND first_seen < {until:DateTime64(6)}
    AND (empty({kinds:Array(String)}) OR has({kinds:Array(String)}, kind))
ORDER BY last_seen DESC, id
LIMIT {row_limit:UInt64}
