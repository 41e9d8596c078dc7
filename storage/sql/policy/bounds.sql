-- When the first call stored began, and a moment after the last one.
-- In: nothing. Out: first, after (an empty store: both 1971).
SELECT
    if(count() = 0, toDateTime64('1971-01-01 00:00:00', 6, 'UTC'), min(ts)) AS first,
    if(count() = 0, toDateTime64('1971-01-01 00:00:00', 6, 'UTC'), max(ts) + toIntervalMicrosecond(1)) AS after
FROM calls
