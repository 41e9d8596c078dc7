-- Who called what, how often: what policies of a window's calls can be learnt from, and those that were refused beside it.
-- A path is held against its operation's template, so that a policy made of the template lets the call pass: fit 0 = as the template
-- says, 1 = the same with a slash behind it, 2 = otherwise, or with what no template stands for; of those the paths themselves.
-- In: since, until, counted (log types that are calls), addresses and owners (pods' addresses, and NAMESPACE/WORKLOAD of each; as many),
-- paths (of those that no template stands for: most of them listed), tls_bit (of tls in `logged`), row_limit (rows).
-- Out: base_edge_id, tcp (1 = a connection), mesh, reporter, the ends' names, principal (empty = none or not known), caller
-- (NAMESPACE/WORKLOAD, empty = not known), nameless (plaintext, or unknown, also where the line only looks so), method, operation, port (0 = not
-- known), fit, verdict, calls, first_seen, last_seen, odd_paths (distinct ones where fit = 2, in no order).
WITH
    tls = 'plaintext' AND bitTest(logged, {tls_bit:UInt8}) AS in_plaintext,
    cutQueryStringAndFragment(path) AS asked,
    if(position(operation, ' ') > 0, substring(operation, position(operation, ' ') + 1), toString(operation)) AS template,
    splitByChar('/', template) AS words,
    endsWith(template, '/**') AS open_end,
    NOT open_end AND endsWith(asked, '/') AND NOT endsWith(template, '/') AS slash_behind,
    if(slash_behind, arrayPopBack(splitByChar('/', asked)), splitByChar('/', asked)) AS given,
    length(words) - open_end AS fixed,
    multiIf(
        asked = '' OR NOT startsWith(asked, '/') OR NOT startsWith(template, '/'), 2,
        asked = template AND position(template, '{') = 0 AND NOT open_end, 0,
        NOT if(open_end, length(given) > fixed AND match(asked, '^[A-Za-z0-9._~%!$&\'()+,;:@=*/-]*$'), length(given) = fixed), 2,
        NOT arrayAll(
            (word, of) -> if(position(of, '{') > 0, match(word, '^[A-Za-z0-9._~%!$&\'()+,;:@=*-]+$'), word = of),
            arrayResize(given, fixed), arrayResize(words, fixed)), 2,
        slash_behind) AS fits
SELECT
    base_edge_id,
    toUInt8(protocol IN ('tcp', 'tls')) AS tcp,
    mesh,
    reporter,
    source_namespace,
    source_workload,
    source_service,
    destination_cluster,
    destination_namespace,
    destination_workload,
    destination_service,
    if(in_plaintext, '', toString(source_principal)) AS principal,
    if(source_namespace != '' AND source_workload != '',
        concat(source_namespace, '/', source_workload),
        transform(replaceRegexpOne(toString(source_ip), '^::ffff:', ''), {addresses:Array(String)}, {owners:Array(String)}, '')) AS caller,
    multiIf(principal != '', '', in_plaintext, 'plaintext', 'unknown') AS nameless,
    method,
    operation,
    destination_port AS port,
    toUInt8(if(tcp, 0, fits)) AS fit,
    verdict,
    sum(weight) AS calls,
    min(ts) AS first_seen,
    max(ts) AS last_seen,
    groupUniqArrayIf({paths:UInt8})(asked, fit = 2) AS odd_paths
FROM calls
WHERE ts >= {since:DateTime64(6)} AND ts < {until:DateTime64(6)} AND log_type IN {counted:Array(String)} AND weight > 0
GROUP BY
    base_edge_id, tcp, mesh, reporter, source_namespace, source_workload, source_service, destination_cluster, destination_namespace,
    destination_workload, destination_service, principal, caller, nameless, method, operation, port, fit, verdict
LIMIT {row_limit:UInt64}
