-- Operations of the services that have too many of them for all to be names: what the learner generalizes.
-- In: more_than (operations of a service), row_limit (rows; services with the most come first).
-- Out: namespace, service, operation.
WITH seen AS (
    SELECT DISTINCT
        toString(destination_namespace) AS namespace,
        toString(if(destination_service = '', destination_workload, destination_service)) AS service,
        toString(operation) AS operation
    FROM edge_keys
    WHERE position(operation, '/') > 0
)
SELECT namespace, service, operation
FROM seen
INNER JOIN (
    SELECT namespace, service, count() AS operations
    FROM seen
    GROUP BY namespace, service
    HAVING operations > {more_than:UInt64}
) AS many USING (namespace, service)
ORDER BY operations DESC, namespace, service, operation
LIMIT {row_limit:UInt64}
