-- Two numbers that change whenever a base edge key or an alias does: names that were resolved under other numbers are
-- resolved again. An edge id is a hash of all that its key says, so the set of ids stands for the keys.
-- Inputs: none. Output: one row, keys and aliases.
SELECT
    (SELECT cityHash64(count(), sum(edge_id)) FROM (SELECT DISTINCT edge_id FROM edge_keys WHERE operation = '')) AS keys,
    (SELECT cityHash64(count(), sum(cityHash64(*))) FROM aliases) AS aliases
