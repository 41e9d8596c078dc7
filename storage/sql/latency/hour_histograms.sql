-- Latency histograms of some edges by hour, for what retention has left of minutes long gone.
-- Inputs: ids (edge ids), since, until (UTC seconds; hours that begin in [since, until)), row_limit (rows).
-- Output: as minute_histograms.sql, `minute` being the begin of the hour.
SELECT edge_id, toUnixTimestamp(hour) AS minute, histogram
FROM edges_1h
WHERE hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')} AND edge_id IN {ids:Array(UInt64)}
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
