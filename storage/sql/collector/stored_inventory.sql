-- The inventory as last loaded, of the kinds that a new load does not bring: pods alone, or services alone, are linked
-- with what is already known.
-- In: cluster, kinds, row_limit (rows). Out: columns of inventory.
SELECT
    kind, namespace, name, uid, labels, annotations, addresses, service_account, owner_kind, owner_name, selector, ports,
    has_sidecar, valid_from, valid_to
FROM inventory FINAL
WHERE cluster = {cluster:String} AND NOT has({kinds:Array(String)}, kind)
ORDER BY kind, namespace, name, uid, valid_from
LIMIT {row_limit:UInt64}
