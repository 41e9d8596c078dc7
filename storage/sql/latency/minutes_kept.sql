-- The first and the last minute that the rollups by minute have, of lines and of what is derived.
-- Output: first, last (UTC seconds since 1970; 0 = none).
SELECT
    toUnixTimestamp(min(low)) AS first,
    toUnixTimestamp(max(high)) AS last
FROM (
    SELECT min(minute) AS low, max(minute) AS high FROM edges_1m HAVING count() > 0
    UNION ALL
    SELECT min(minute) AS low, max(minute) AS high FROM derived_edges_1m HAVING count() > 0
)
