-- Incidents that overlap a window, as kept last; the latest first.
-- In: since, until, ids and states (empty = all), row_limit (rows). Out: the columns of `incidents`.
SELECT
    id, state, severity, summary, principals, services, path, findings, started, updated, techniques, note, merged_into,
    closed_at, kept_at
FROM incidents FINAL
WHERE
    updated >= {since:DateTime64(6)} AND started < {until:DateTime64(6)}
    AND (empty({ids:Array(String)}) OR has({ids:Array(String)}, id))
    AND (empty({states:Array(String)}) OR has({states:Array(String)}, state))
ORDER BY started DESC, id DESC
LIMIT {row_limit:UInt64}
