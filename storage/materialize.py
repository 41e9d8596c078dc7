"""WITH clauses that are selected once and kept, where the engine can do that.

ClickHouse replaces each use of a WITH clause by the clause itself: one that reads a table and is used five times reads
it five times. Newer versions keep the rows of those marked `MATERIALIZED`, a word that older ones refuse. So the SQL
files say what every version understands, and the word is put in here.
"""

from __future__ import annotations

from storage.engine import Engine, Settings
from storage.errors import BadStatement
from storage.sql import Statement, load

KEEPS: Settings = {"enable_materialized_cte": 1}
"""What a statement with such a clause has to be run with."""


def can_materialize(engine: Engine) -> bool:
    """Whether `engine` keeps what a WITH clause selects."""
    return bool(engine.query(load("storage/materializes").text)["able"][0].as_py())


def materialized(statement: Statement, clause: str) -> str:
    """The text of `statement` with the rows of its WITH `clause` kept. Run it with `KEEPS`.

    Raises:
        BadStatement: it has no such clause.
    """
    opening = f"\n    {clause} AS (\n"
    if statement.text.count(opening) != 1:
        raise BadStatement(f"{statement.name}: expected one WITH clause that opens with {opening.strip()!r}")
    return statement.text.replace(opening, f"\n    {clause} AS MATERIALIZED (\n")
