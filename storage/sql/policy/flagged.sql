-- Whom findings are about, so that nothing is learnt from their calls.
-- In: since, until (a finding counts where its episode lasted into that time), row_limit (rows).
-- Out: principal (empty = none, or not known), source and destination (nodes of the map), operation; empty = of several.
SELECT DISTINCT principal, source, destination, operation
FROM findings FINAL
WHERE severity != 'low' AND first_seen < {until:DateTime64(6)} AND last_seen >= {since:DateTime64(6)}
ORDER BY principal, source, destination, operation
LIMIT {row_limit:UInt64}
