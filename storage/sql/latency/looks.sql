-- The look with the most tests in a window. In: since, until (UTC). Out: at, tested, survivors; no row = nobody looked.
SELECT at, tested, survivors
FROM latency_looks FINAL
WHERE at > {since:DateTime64(6)} AND at <= {until:DateTime64(6)}
ORDER BY tested DESC, at DESC
LIMIT 1
