"""The same migrations for a cluster: one statement as written for a single server becomes those that a cluster needs.

    CREATE TABLE, sharded        x_local ON CLUSTER, replicated within its shard, and x ON CLUSTER, Distributed over it
    CREATE TABLE, everywhere     x ON CLUSTER, all nodes of the cluster being its replicas
    CREATE MATERIALIZED VIEW     from local tables into a local table, ON CLUSTER
    CREATE VIEW                  ON CLUSTER; it reads what readers read
    ALTER TABLE                  of the local table ON CLUSTER; x is made anew where columns changed

Where a table lives says `storage.placement`. Statements are read by their grammar (`storage.tokens`); one of another
shape is refused, never passed on as it is. All of them may run twice: `IF NOT EXISTS` completes what broke off.
A table that stands on some nodes is made on the others as it stands there (`made_again`), not as its migration has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.errors import BadStatement
from storage.placement import LOCAL, Place, local, place_of
from storage.tokens import Token, at_top, closing, tokens

WINDOW_S = 30 * 86_400
"""Seconds that a replicated table knows a token (by default an hour): ingesters may be down for so long."""

_ENGINES = {
    "MergeTree",
    "ReplacingMergeTree",
    "SummingMergeTree",
    "AggregatingMergeTree",
    "CoalescingMergeTree",
    "CollapsingMergeTree",
    "VersionedCollapsingMergeTree",
}
_SETTINGS: Mapping[str, str] = {"non_replicated_deduplication_window": "replicated_deduplication_window"}
_ALTERED = {"ADD", "DROP", "MODIFY", "RENAME", "CLEAR", "REMOVE", "RESET", "MATERIALIZE", "COMMENT", "DELETE", "UPDATE"}
_NO_COLUMN = {"TTL", "CODEC", "REMOVE", "COMMENT", "SETTING", "RESET"}
"""What `MODIFY COLUMN x ...` changes without changing what a reader sees."""
_AFTER_TABLE = {
    *("WHERE", "PREWHERE", "GROUP", "ORDER", "LIMIT", "HAVING", "SETTINGS", "UNION", "INTERSECT", "EXCEPT", "WINDOW"),
    *("FINAL", "SAMPLE", "ARRAY", "LEFT", "RIGHT", "INNER", "FULL", "CROSS", "ANY", "ALL", "ASOF", "SEMI", "ANTI"),
    *("GLOBAL", "LOCAL", "PASTE", "JOIN", "ON", "USING", "QUALIFY", "WITH", "OFFSET", "FORMAT"),
}
_CLUSTER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The name of a cluster in ClickHouse's configuration, and the database of the store."""

    name: str
    database: str

    def __post_init__(self) -> None:
        for text in (self.name, self.database):
            if not _CLUSTER.fullmatch(text):
                raise BadStatement(f"{text!r} is no name of a cluster or database")

    @property
    def on(self) -> str:
        """The clause that sends a statement to every node."""
        return f"ON CLUSTER '{self.name}'"

    def replica(self, table: str) -> str:
        """Path in Keeper and name of the replica, as an engine's arguments."""
        if place_of(table) is Place.SHARDED:
            return f"'/clickhouse/tables/{{shard}}/{self.database}/{local(table)}', '{{replica}}'"
        # Names of replicas may repeat from shard to shard; here all shards share one path.
        return f"'/clickhouse/tables/everywhere/{self.database}/{table}', '{{shard}}-{{replica}}'"

    def distributed(self, table: str) -> str:
        """The engine of what readers name.

        Rows do not lie where a function of their columns says (`storage.shards`), so none may be named as the sharding
        key: ClickHouse could leave shards out.
        """
        return f"ENGINE = Distributed('{self.name}', '{self.database}', '{local(table)}', rand())"

    def create_database(self) -> str:
        """The statement that makes the store's database on every node."""
        return f"CREATE DATABASE IF NOT EXISTS `{self.database}` {self.on}"


def is_definition(sql: str) -> bool:
    """Whether a statement changes tables, so that it must be rendered for a cluster."""
    found = tokens(sql)
    words = {"CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "EXCHANGE", "ATTACH", "DETACH", "UNDROP", "REPLACE"}
    return bool(found) and found[0].keyword in words


def render(sql: str, cluster: Cluster) -> list[str]:
    """The statements, in order, that do on `cluster` what `sql` does on a single server.

    Raises:
        BadStatement: its shape is not known here, or a table's place is not.
    """
    found = tokens(sql)
    head = [token.keyword for token in found[:3]]
    try:
        if head[:2] == ["CREATE", "TABLE"]:
            return _create_table(sql, found, cluster)
        if head == ["CREATE", "MATERIALIZED", "VIEW"]:
            return [_create_materialized_view(sql, found, cluster)]
        if head[:2] == ["CREATE", "VIEW"]:
            return [_create_view(sql, found, cluster)]
        if head[:2] == ["ALTER", "TABLE"]:
            return _alter_table(sql, found, cluster)
    except IndexError:
        raise BadStatement(f"the statement ends too early: {_shown(sql, found)}") from None
    raise BadStatement(f"no rule for a cluster: {_shown(sql, found)}")


def made_by(statement: str) -> str:
    """The table or view that a rendered CREATE statement makes.

    Raises:
        BadStatement: it makes none.
    """
    found = tokens(statement)
    for index, token in enumerate(found[:6]):
        if token.keyword == "EXISTS" and index + 1 < len(found):
            return found[index + 1].name
    raise BadStatement(f"CREATE ... IF NOT EXISTS name expected: {_shown(statement, found)}")


def rows_made_by(statement: str) -> str:
    """The table that a rendered statement makes for rows; empty where it makes a view, what readers name, or nothing.

    Raises:
        BadStatement: see `made_by` and `place_of`.
    """
    if [token.keyword for token in tokens(statement)[:2]] != ["CREATE", "TABLE"]:
        return ""
    table = made_by(statement)
    return table if local(table.removesuffix(LOCAL)) == table else ""


def made_again(standing: str, table: str, cluster: Cluster) -> str:
    """The statement that makes `table`, as it stands on some nodes, on those that lack it.

    `standing` is its `create_table_query` in `system.tables`. The path in Keeper must be the one that `Cluster.replica`
    gives: ClickHouse keeps {shard} and {replica} as they were written, and each server reads its own macros into them.
    A path of another form, with a shard's number written out say, would make one shard's table a replica of another's.

    Raises:
        BadStatement: it is no replicated table of the cluster.
    """
    found = tokens(standing)
    wanted = [token.text for token in tokens(cluster.replica(table.removesuffix(LOCAL)))]
    try:
        columns = next(index for index, token in enumerate(found) if token.text == "(")
        engine = closing(found, columns) + 3
        arguments = [token.text for token in found[engine + 2 : engine + 2 + len(wanted)]]
    except StopIteration:
        raise BadStatement(f"table {table}: a list of columns expected: {_shown(standing, found)}") from None
    if [token.keyword for token in found[:2]] != ["CREATE", "TABLE"] or table not in [t.name for t in found[2:columns]]:
        raise BadStatement(f"CREATE TABLE {table} expected: {_shown(standing, found)}")
    name = found[engine].name if engine < len(found) else ""
    if name.removeprefix("Replicated") not in _ENGINES or arguments != wanted:
        raise BadStatement(
            f"table {table} stands with another engine or path in Keeper than eastwatch gives it, {' '.join(wanted)}: "
            "nodes that lack it cannot be given it"
        )
    # The head goes as a whole: a UUID in it is that of one node's table.
    return f"CREATE TABLE IF NOT EXISTS {table} {cluster.on} {standing[found[columns].start :]}"


# --- statements


def _create_table(sql: str, found: Sequence[Token], cluster: Cluster) -> list[str]:
    named = _after_if_not_exists(found, 2)
    table = _simple_name(sql, found, named)
    if found[named + 1].text != "(":
        raise BadStatement(f"table {table}: a list of columns expected behind its name")
    columns_end = closing(found, named + 1)
    engine = columns_end + 3
    if [token.text.upper() for token in found[columns_end + 1 : engine]] != ["ENGINE", "="]:
        raise BadStatement(f"table {table}: ENGINE = expected behind its columns")
    if found[engine].name not in _ENGINES:
        raise BadStatement(f"table {table}: engine {found[engine].text} has no replicated form that is known here")
    edits = [_Edit(found[1].end, found[named].end, f" IF NOT EXISTS {local(table)} {cluster.on}")]
    arguments = cluster.replica(table)
    if found[engine + 1 : engine + 2] and found[engine + 1].text == "(":
        end = closing(found, engine + 1)
        comma = ", " if end > engine + 2 else ""
        edits.append(
            _Edit(found[engine].start, found[engine + 1].end, f"Replicated{found[engine].name}({arguments}{comma}")
        )
    else:
        end = engine
        edits.append(_Edit(found[engine].start, found[engine].end, f"Replicated{found[engine].name}({arguments})"))
    edits += _settings(found, end + 1)
    statements = [_edited(sql, edits)]
    if place_of(table) is Place.SHARDED:
        statements.append(
            f"CREATE TABLE IF NOT EXISTS {table} {cluster.on} AS {local(table)} {cluster.distributed(table)}"
        )
    return statements


def _settings(found: Sequence[Token], start: int) -> list[_Edit]:
    """What a table's settings become: windows of tokens have other names in replicated tables."""
    edits = list[_Edit]()
    inside = False
    for index in at_top(found, start):
        token = found[index]
        inside = inside or token.keyword == "SETTINGS"
        if inside and token.name in _SETTINGS and found[index + 1].text == "=":
            edits.append(
                _Edit(
                    token.start,
                    token.end,
                    f"replicated_deduplication_window_seconds = {WINDOW_S}, {_SETTINGS[token.name]}",
                )
            )
    return edits


def _create_materialized_view(sql: str, found: Sequence[Token], cluster: Cluster) -> str:
    named = _after_if_not_exists(found, 3)
    view = _simple_name(sql, found, named)
    if found[named + 1].keyword != "TO" or found[named + 3].keyword != "AS":
        raise BadStatement(f"view {view}: CREATE MATERIALIZED VIEW {view} TO table AS SELECT expected")
    target = _simple_name(sql, found, named + 2)
    sources = _sources(found, named + 4)
    places = {place_of(token.name) for token in sources}
    if not sources or places != {place_of(target)} or len({token.name for token in sources}) > 1:
        names = ", ".join(sorted({token.name for token in sources})) or "nothing"
        raise BadStatement(
            f"view {view}: one table expected that lives where {target} does, found {names}: "
            "a view sees only what is inserted on its own node"
        )
    edits = [
        _Edit(found[2].end, found[named].end, f" IF NOT EXISTS {view} {cluster.on}"),
        _Edit(found[named + 2].start, found[named + 2].end, local(target)),
    ]
    for token in sources:
        if place_of(token.name) is Place.SHARDED:
            alias = "" if _has_alias(found, found.index(token)) else f" AS {token.name}"
            edits.append(_Edit(token.start, token.end, local(token.name) + alias))
    return _edited(sql, edits)


def _create_view(sql: str, found: Sequence[Token], cluster: Cluster) -> str:
    named = _after_if_not_exists(found, 2)
    view = _simple_name(sql, found, named)
    if found[named + 1].keyword != "AS":
        raise BadStatement(f"view {view}: AS expected behind its name")
    for token in _sources(found, named + 2):
        place_of(token.name)
    return _edited(sql, [_Edit(found[1].end, found[named].end, f" IF NOT EXISTS {view} {cluster.on}")])


def _alter_table(sql: str, found: Sequence[Token], cluster: Cluster) -> list[str]:
    table = _simple_name(sql, found, 2)
    commands = _commands(found, 3)
    for command in commands:
        if command[0] not in _ALTERED:
            raise BadStatement(f"ALTER TABLE {table}: no rule for a cluster: {' '.join(command[:3])}")
    if place_of(table) is Place.EVERYWHERE:
        # Its replicas pass it on to each other; ON CLUSTER would run it once for each shard.
        return [sql]
    edits = [_Edit(found[2].start, found[2].end, f"{local(table)} {cluster.on}")]
    statements = [_edited(sql, edits)]
    if any(map(_changes_columns, commands)):
        made = f"CREATE OR REPLACE TABLE {table} {cluster.on} AS {local(table)} {cluster.distributed(table)}"
        statements.append(made)
    return statements


def _commands(found: Sequence[Token], start: int) -> list[list[str]]:
    """The words of each command of an ALTER, in upper case; names as they are."""
    commands: list[list[str]] = [[]]
    for index in at_top(found, start):
        if found[index].text == ",":
            commands.append([])
        else:
            commands[-1].append(found[index].keyword or found[index].text)
    if not all(commands):
        raise BadStatement("ALTER TABLE: a command expected")
    return commands


def _changes_columns(command: Sequence[str]) -> bool:
    if "COLUMN" not in command[1:2] or command[0] in ("CLEAR", "COMMENT", "MATERIALIZE"):
        return False
    return not (command[0] == "MODIFY" and command[3:4] and command[3] in _NO_COLUMN)


# --- parts of statements


def _after_if_not_exists(found: Sequence[Token], index: int) -> int:
    skipped = [token.keyword for token in found[index : index + 3]] == ["IF", "NOT", "EXISTS"]
    return index + 3 if skipped else index


def _simple_name(sql: str, found: Sequence[Token], index: int) -> str:
    """The name at `index`, which is of the store's own database."""
    name = found[index].name
    if not name or (found[index + 1 : index + 2] and found[index + 1].text == "."):
        raise BadStatement(f"a name without a database expected: {_shown(sql, found)}")
    return name


def _sources(found: Sequence[Token], start: int) -> list[Token]:
    """The tables that a SELECT reads: names behind FROM and JOIN of a query (`trim(BOTH ' ' FROM x)` is none)."""
    common = {found[i].name for i in range(start, len(found) - 2) if _defines(found, i)}
    tables = list[Token]()
    queries = [True]
    for index in range(start, len(found)):
        token = found[index]
        if token.kind == "symbol" and token.text in "([{":
            queries.append(found[index + 1].keyword in ("SELECT", "WITH", "FROM"))
        elif token.kind == "symbol" and token.text in ")]}":
            queries.pop()
        elif token.keyword == "JOIN" and found[index - 1].keyword == "ARRAY":
            continue
        elif queries[-1] and token.keyword in ("FROM", "JOIN"):
            tables += _listed(found, index + 1)
        elif token.keyword == "IN" and found[index + 1].name:
            tables.append(found[index + 1])
    return [token for token in tables if token.name not in common]


def _listed(found: Sequence[Token], index: int) -> list[Token]:
    """The tables named at `index`; subqueries are none, functions are refused."""
    if found[index].text == "(":
        return []
    following = found[index + 1].text if index + 1 < len(found) else ""
    if not found[index].name or following in ("(", ".", ","):
        raise BadStatement(f"a plain table expected behind FROM or JOIN, found {found[index].text}{following}")
    return [found[index]]


def _defines(found: Sequence[Token], index: int) -> bool:
    """Whether a common table expression `name AS (SELECT` begins at `index`."""
    behind = found[index + 1 : index + 4]
    return (
        len(behind) == 3
        and bool(found[index].name)
        and behind[0].keyword == "AS"
        and behind[1].text == "("
        and behind[2].keyword in ("SELECT", "WITH")
    )


def _has_alias(found: Sequence[Token], index: int) -> bool:
    behind = found[index + 1 : index + 2]
    return bool(behind) and bool(behind[0].name) and behind[0].keyword not in _AFTER_TABLE


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def _edited(sql: str, edits: Iterable[_Edit]) -> str:
    """`sql` with each span replaced; what stands between, comments too, stays as it is."""
    parts = list[str]()
    position = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        parts += [sql[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, sql[position:]])


def _shown(sql: str, found: Sequence[Token]) -> str:
    start = found[0].start if found else 0
    return repr(" ".join(sql[start : start + 100].split()))
