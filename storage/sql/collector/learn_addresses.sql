-- Address aliases of evidence `telemetry`, brought up to what was seen: rows that are new or differ, and withdrawals.
--
-- Of an hour's witnesses of an address the best are heard: pod, then caller, then peer, then span. An hour in which they contradict
-- each other at the same time has no owner, nor has one in which callers of several accounts came from the address (a node's address
-- in front of its pods, a gateway between networks). Sightings of one owner in a row are one interval: from an hour before the hour of the
-- first to an hour after the hour of the last, but never before the owner before it, nor past the first sighting of the next:
-- an address that moves does not rewrite the past. What the inventory knows stands, with one exception: a pod that the inventory saw
-- running has lost its address once another pod's own lines come from it, later than that inventory was loaded.
--
-- In: loaded_at (UTC), row_limit (rows). Out: rows of aliases; a withdrawn one ends where it begins.
INSERT INTO aliases
    (kind, cluster, name_namespace, name, valid_from, valid_to, namespace, workload, service, service_account, pod, version, is_gateway, evidence, loaded_at)
WITH
    heard AS (
        SELECT
            cluster, address, hour,
            toString(namespace) AS namespace, toString(workload) AS workload, toString(service) AS service,
            toString(service_account) AS service_account, toString(pod) AS pod, toString(version) AS version, is_gateway,
            if(service = '', workload, service) AS bare_name,
            (namespace, if(pod = '', bare_name, concat('pod/', pod))) AS owner,
            transform(toString(told_by), ['pod', 'caller', 'peer'], [4, 3, 2], 1) AS strength,
            min(first_ts) AS first, max(last_ts) AS last
        FROM address_sightings
        GROUP BY cluster, address, hour, namespace, workload, service, service_account, pod, version, is_gateway, told_by
    ),
    best AS (
        SELECT *, max(strength) OVER (PARTITION BY cluster, address, hour) AS strongest FROM heard
    ),
    owners AS (
        SELECT
            b.cluster AS cluster, b.address AS address, b.hour AS hour, b.owner AS owner,
            max(b.strength) AS strength, min(b.first) AS first, max(b.last) AS last,
            argMax((b.namespace, b.workload, b.service, b.service_account, b.pod, b.version, b.is_gateway),
                (b.workload != '') + (b.service != '') + (b.version != '') + (b.service_account != '')) AS names,
            any(b.bare_name) AS bare_name
        FROM best AS b
        WHERE b.strength = b.strongest
        GROUP BY b.cluster, b.address, b.hour, b.owner
    ),
    hours AS (
        SELECT
            cluster, address, hour,
            groupArray(32)((first, last, owner, bare_name, names, strength)) AS rivals,
            count() >= 32 OR arrayExists(a -> arrayExists(
                b -> a.3 != b.3 AND (a.3.1, a.4) != (b.3.1, b.4) AND (a.6 = 2 OR (a.1 <= b.2 AND b.1 <= a.2)), rivals), rivals) AS contested
        FROM owners
        GROUP BY cluster, address, hour
    ),
    sightings AS (
        SELECT cluster, address, seen.1 AS first, seen.2 AS last, seen.3 AS owner, seen.5 AS names, seen.6 AS strength,
            contested AS nobody
        FROM hours
        ARRAY JOIN if(
            contested,
            [(toDateTime64(hour, 6, 'UTC'), toDateTime64(hour, 6, 'UTC') + toIntervalHour(1) - toIntervalMicrosecond(1),
                ('', ''), '', ('', '', '', '', '', '', toUInt8(0)), toUInt8(0))],
            rivals) AS seen
    ),
    turns AS (
        SELECT *,
            row_number() OVER w = 1 OR owner != lagInFrame(owner) OVER w
                OR first > lagInFrame(last) OVER w + toIntervalHour(2) AS turn
        FROM sightings
        WINDOW w AS (PARTITION BY cluster, address ORDER BY first, last, owner ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ),
    numbered AS (
        SELECT *, sum(turn) OVER (PARTITION BY cluster, address ORDER BY first, last, owner ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
        FROM turns
    ),
    runs AS (
        SELECT n.cluster AS cluster, n.address AS address, n.run AS run, max(n.nobody) AS nobody,
            max(n.strength) AS strength, argMax(n.names, n.last) AS names, min(n.first) AS first, max(n.last) AS last
        FROM numbered AS n
        GROUP BY n.cluster, n.address, n.run
    ),
    ended AS (
        SELECT *,
            least(
                if(nobody, last + toIntervalMicrosecond(1), toDateTime64(toStartOfHour(last), 6, 'UTC') + toIntervalHour(2)),
                if(run = max(run) OVER w, toDateTime64('2200-01-01 00:00:00', 6, 'UTC'), leadInFrame(first) OVER w)) AS until
        FROM runs
        WINDOW w AS (PARTITION BY cluster, address ORDER BY run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ),
    intervals AS (
        SELECT *,
            greatest(
                toDateTime64(toStartOfHour(first), 6, 'UTC') - toIntervalHour(1),
                if(run = 1, toDateTime64('1971-01-01 00:00:00', 6, 'UTC'), lagInFrame(until) OVER w)) AS since
        FROM ended
        WINDOW w AS (PARTITION BY cluster, address ORDER BY run ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ),
    claims AS (
        SELECT toIPv6OrZero(name) AS address,
            arraySort(groupArray((valid_from, valid_to, toString(pod), loaded_at, toString(cluster)))) AS listed
        FROM aliases FINAL
        WHERE evidence = 'inventory' AND kind IN ('pod_ip', 'service_ip') AND valid_from < valid_to
        GROUP BY address
    ),
    judged AS (
        SELECT
            i.cluster AS cluster, i.address AS address, i.names AS names, i.first AS first, i.last AS last,
            i.since AS since, i.until AS until,
            arrayFilter(c -> c.5 = '' OR i.cluster = '' OR c.5 = i.cluster, c.listed) AS listed,
            arrayFilter(c -> c.1 < i.until AND c.2 > i.since, listed) AS near,
            arrayFilter(c -> c.1 <= i.first, listed) AS begun,
            begun[-1] AS holder,
            i.strength = 4 AND names.5 != '' AND length(begun) > 0 AND holder.3 != '' AND holder.3 != names.5
                AND i.first < holder.2 AND i.first > holder.4 AS moved,
            arrayMin(c -> c.1, arrayFilter(c -> c.1 > i.first, near)) AS next_claim,
            multiIf(
                length(near) = 0, [(i.since, i.until)],
                moved, [(i.first, if(arrayExists(c -> c.1 > i.first, near), least(i.until, next_claim), i.until))],
                arrayFilter(p -> p.1 < p.2, [
                    (i.since, if(i.first < arrayMin(c -> c.1, near), arrayMin(c -> c.1, near), i.since)),
                    (if(i.last >= arrayMax(c -> c.2, near), greatest(i.since, arrayMax(c -> c.2, near)), i.until), i.until)])) AS pieces
        FROM intervals AS i
        LEFT JOIN claims AS c ON i.address = c.address
        WHERE NOT i.nobody
    ),
    wanted AS (
        SELECT toString(cluster) AS cluster, replaceOne(IPv6NumToString(address), '::ffff:', '') AS name,
            piece.1 AS valid_from, piece.2 AS valid_to, names
        FROM judged
        ARRAY JOIN pieces AS piece
    ),
    standing AS (
        SELECT toString(cluster) AS cluster, name, valid_from, valid_to,
            (toString(namespace), toString(workload), toString(service), toString(service_account), toString(pod), toString(version), is_gateway) AS names
        FROM aliases FINAL
        WHERE evidence = 'telemetry' AND kind = 'pod_ip'
    ),
    compared AS (
        SELECT
            cluster, name, valid_from,
            countIf(is_wanted) > 0 AS stays, anyIf(valid_to, is_wanted) AS new_end, anyIf(names, is_wanted) AS new_names,
            countIf(NOT is_wanted) > 0 AS stood, anyIf(valid_to, NOT is_wanted) AS old_end, anyIf(names, NOT is_wanted) AS old_names
        FROM (
            SELECT cluster, name, valid_from, valid_to, names, true AS is_wanted FROM wanted
            UNION ALL
            SELECT cluster, name, valid_from, valid_to, names, false FROM standing
        )
        GROUP BY cluster, name, valid_from
    ),
    changed AS (
        SELECT cluster, name, valid_from, if(stays, new_end, valid_from) AS valid_to, if(stays, new_names, old_names) AS names
        FROM compared
        WHERE (stays AND NOT (stood AND new_end = old_end AND new_names = old_names))
            -- What retention has forgotten is no reason to forget a name.
            OR (NOT stays AND valid_from < old_end
                AND valid_from >= (SELECT min(hour) FROM address_sightings) - toIntervalHour(1))
    )
SELECT
    'pod_ip', cluster, '', name, valid_from, valid_to,
    names.1, names.2, names.3, names.4, names.5, names.6, names.7,
    'telemetry', {loaded_at:DateTime64(6, 'UTC')}
FROM changed
LIMIT {row_limit:UInt64}
