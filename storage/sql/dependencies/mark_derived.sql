-- Makes a generation the current one of the periods it covers; the last step of a derivation.
-- Inputs: edge_kind, grain (1m, 1h or 1d), periods (UTC seconds since 1970), records and knowledge (per period), generation,
-- derived_on. Output: rows of derived_periods.
INSERT INTO derived_periods
    (kind, grain, period, generation, records, knowledge, derived_on)
SELECT
    {edge_kind:String},
    {grain:String},
    toDateTime64(period.1, 0, 'UTC'),
    {generation:UInt64},
    period.2,
    period.3,
    toDate({derived_on:Date})
FROM (SELECT arrayJoin(arrayZip({periods:Array(Int64)}, {records:Array(UInt64)}, {knowledge:Array(UInt64)})) AS period)
