-- What stands of whole days as derived: from how many records each minute, hour and day was derived last, and when.
-- Inputs: edge_kind, days (Array of dates), since, until (UTC seconds, what `days` lie in), row_limit (rows).
-- Output: grain (1m, 1h or 1d), period (its start), records, derived_on.
SELECT grain, period, argMax(records, generation) AS records, argMax(derived_on, generation) AS derived_on
FROM derived_periods
WHERE kind = {edge_kind:String} AND grain IN ('1m', '1h', '1d')
    AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
    AND toDate(period) IN {days:Array(Date)}
GROUP BY grain, period
LIMIT {row_limit:UInt64}
