-- When that happened which analyzers have told lately: windows of the past are analyzed too, and their findings are grouped
-- like those of now. A finding that goes on for weeks was grouped long ago: only its last days ask for others beside it.
-- In: found_since, found_until (UTC, by when a finding was written last), days (of a long finding), row_limit (rows).
-- Out: since, until (UTC); findings. One row.
SELECT
    min(greatest(first_seen, last_seen - toIntervalDay({days:UInt8}))) AS since,
    max(last_seen) AS until,
    count() AS findings
FROM (
    SELECT first_seen, last_seen
    FROM findings
    WHERE found_at >= {found_since:DateTime64(6)} AND found_at <= {found_until:DateTime64(6)}
    LIMIT {row_limit:UInt64}
)
