-- The tables of the store as they stand, TTLs and comments included. Output: name, ddl.
SELECT name, create_table_query AS ddl
FROM system.tables
WHERE database = currentDatabase()
