"""Recorded calls through the programs of the places where they arrived.

    one group:   calls ──► a row for each, with its verdict
    a bundle:    calls ──► sums by the bits that the programs read ──► cases ──► verdict of each case

Verdicts of single calls need one statement for each group. Sums read the calls of many groups at once: a part of a day
holds a little of every place, and would otherwise be read again for each. What the programs of a place read of a call
becomes a few bits; the calls with equal bits are a case, and only cases are judged, a group at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from analyzers.policy.distinct import distinct
from analyzers.policy.errors import TooMuch
from analyzers.policy.groups import Group, Window, arrived, as_judged, counted, number
from analyzers.policy.sql import KNOWN, SAID, TEST, VALUE, Parameters, Verdict, verdict
from storage.bind import holes as declared
from storage.engine import Settings

BITS = 64
"""Of a column of bits."""
MOST_BITS = 4 * BITS
"""That programs of a group may read of a call, and still be judged by cases: with more, calls seldom have the same."""
MOST_GROUPS = 64
"""Of a bundle."""
MOST_TEXT = 128_000
"""Letters of SQL of a bundle, about: engines take 256 kB of a statement."""
TOGETHER = 32_000
"""Letters of SQL that judge cases, about: small enough for a few statements beside each other."""
AT_ONCE = 2
"""Statements that run at the same time: each reads few rows, and seldom with more than one thread."""
LARGEST = 4 << 20
"""Letters of a statement: planning it takes minutes."""
_FOR_LARGE: Settings = {
    "max_query_size": 2 * LARGEST,
    "max_ast_elements": LARGEST,
    "max_expanded_ast_elements": LARGEST,
}
SHARED = 5
"""What one in so many groups reads is read of all calls."""
_IN_LARGE_BLOCKS = (
    "short_circuit_function_evaluation = 'force_enable', max_block_size = 131072, preferred_block_size_bytes = 0"
)
"""Bits of a group are read of its own calls only, which costs the same for many of them as for few."""
_FOR_CASES = "query_plan_enable_optimizations = 0, short_circuit_function_evaluation = 'disable'"
"""Cases are few: planning with care takes longer than running without."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of judged calls, beside their verdicts.

    Attributes:
        keys: columns of `calls`, comma separated.
        sums: names and aggregates: calls are then grouped by `keys` and verdict, perhaps in several rows of each.
            Without any: a row for each call.
        summed: columns of `calls` that the aggregates read, comma separated.
    """

    keys: str
    sums: Mapping[str, str] = field(default_factory=dict[str, str])
    summed: str = ""

    @property
    def named(self) -> Sequence[str]:
        """The aggregates, each AS its name."""
        return [f"{expression} AS {name}" for name, expression in self.sums.items()]


@dataclass(frozen=True, slots=True)
class Task:
    """A group, with the window in which its programs hold and what they read of calls."""

    window: Window
    group: Group
    told: Verdict

    def inputs(self, *kinds: str) -> Sequence[str]:
        """Names of the inputs of these kinds."""
        return [name for name in self.told.inputs if name.split("_")[0] in kinds]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Groups of one window whose calls are read by one statement.

    Attributes:
        holes: parameters of all their expressions.
    """

    tasks: tuple[Task, ...]
    holes: Parameters

    @property
    def window(self) -> Window:
        """That of all its groups."""
        return self.tasks[0].window

    @property
    def groups(self) -> Sequence[Group]:
        """In their order."""
        return [task.group for task in self.tasks]


Answer = tuple[Group, pa.Table, Verdict]
"""What is wanted of a group, with the columns of `sql.Verdict`; and what their numbers mean."""


def bundles(groups: Sequence[tuple[Window, Group]], wanted: Wanted) -> Iterator[Bundle]:
    """Groups, in their order, in as few bundles as their size allows; one in each where single calls are wanted."""
    holes, names = Parameters(), dict[str, str]()
    tasks: list[Task] = []
    text = 0
    for window, group in groups:
        task = Task(window, group, verdict(*group.programs, parameters=holes, names=names))
        longer = sum(map(len, task.told.inputs.values()))
        if tasks and not (wanted.sums and _fits(tasks, task, text + longer)):
            yield Bundle(tuple(tasks), holes)
            holes, names, tasks, text = Parameters(), dict[str, str](), [], 0
            task = Task(window, group, verdict(*group.programs, parameters=holes, names=names))
        tasks.append(task)
        text += longer
    if tasks:
        yield Bundle(tuple(tasks), holes)


def _fits(tasks: Sequence[Task], task: Task, text: int) -> bool:
    first = tasks[0]
    return (
        task.window is first.window
        and (task.group.is_gateway, task.group.asks_caller) == (first.group.is_gateway, first.group.asks_caller)
        and max(_bits([first]), _bits([task])) <= MOST_BITS
        and len({name for one in (*tasks, task) for name in one.inputs(KNOWN)}) <= BITS
        and len(tasks) < MOST_GROUPS
        and text <= MOST_TEXT
    )


def _bits(tasks: Sequence[Task]) -> int:
    """Bits that the programs of a group read of a call, at most."""
    return max(len(task.inputs(KNOWN, TEST)) for task in tasks)


def judged(bundle: Bundle, wanted: Wanted) -> Sequence[Answer]:
    """The calls of each group with their verdicts.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    if wanted.sums and _bits(bundle.tasks) <= MOST_BITS:
        return _by_cases(bundle, wanted)
    return [_one_by_one(task, bundle.holes, wanted) for task in bundle.tasks]


def _one_by_one(task: Task, holes: Parameters, wanted: Wanted) -> Answer:
    """A verdict for each call, and where sums are wanted, those of their verdicts."""
    window, group, told = task.window, task.group, task.told
    source = f"{as_judged([group], window.inventory, holes)} WHERE {arrived(window, group, holes)}"
    if wanted.sums:
        columns = f"{wanted.keys}, {SAID}"
        each = told.each(f"{wanted.keys}, {wanted.summed}", source)
        sql = f"SELECT {columns}, {', '.join(wanted.named)} FROM ({each}) GROUP BY {columns}"
    else:
        sql = told.each(wanted.keys, source)
    return group, _answer(window, sql, holes), told


def _by_cases(bundle: Bundle, wanted: Wanted) -> Sequence[Answer]:
    window, holes = bundle.window, bundle.holes
    layout = _laid_out(bundle)
    source = f"{as_judged(bundle.groups, window.inventory, holes)} WHERE {counted(window, holes)}"
    read = f"SELECT *, {number(bundle.groups, holes)} AS program FROM {source}"
    sql = (
        f"SELECT program, {wanted.keys}, {', '.join(layout.named)}, {', '.join(wanted.named)} FROM ({read}) "
        f"WHERE program != 0 GROUP BY program, {wanted.keys}, {', '.join(layout.columns)} ORDER BY program "
        f"SETTINGS {_IN_LARGE_BLOCKS}"
    )
    table = _answer(window, sql, holes)
    read_by = ["program", *layout.columns]
    first, case = distinct(table.select(read_by))
    said = _said(bundle, layout, table.select(read_by).take(first)).take(case)
    program = table.column("program").to_numpy()
    ends = np.searchsorted(program, np.arange(1, len(bundle.tasks) + 2))
    table = table.drop_columns(read_by)
    for name in SAID.split(", "):
        table = table.append_column(name, said.column(name))
    return [
        (task.group, table.slice(ends[at], ends[at + 1] - ends[at]), task.told) for at, task in enumerate(bundle.tasks)
    ]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How inputs lie in the columns of cases.

    Attributes:
        columns: their expressions over `calls`, by name.
        unpacked: expressions of inputs over these columns, for each group.
    """

    columns: Mapping[str, str]
    unpacked: Sequence[Mapping[str, str]]

    @property
    def named(self) -> Sequence[str]:
        """The expressions, each AS its column."""
        return [f"{expression} AS {name}" for name, expression in self.columns.items()]


def _laid_out(bundle: Bundle) -> _Layout:
    """Bits of many groups are read of all calls; those of few of the calls of their own group only."""
    inputs = {name: expression for task in bundle.tasks for name, expression in task.told.inputs.items()}
    readers = Counter(name for task in bundle.tasks for name in task.inputs(KNOWN, TEST))
    known = sorted(name for name in readers if name.startswith(KNOWN))
    tests = [
        name for name, many in readers.most_common() if name.startswith(TEST) and many * SHARED >= len(bundle.tasks)
    ]
    common = [*known, *tests][:BITS]
    own = [[name for name in task.inputs(KNOWN, TEST) if name not in common] for task in bundle.tasks]
    columns = {name: expression for name, expression in inputs.items() if name.startswith(VALUE)}
    columns["common"] = f"{_packed([inputs[name] for name in common])} + {_eager(bundle, own)}"
    for first in range(0, max(map(len, own)), BITS):
        branches = [
            f"program = {at}, {_packed([inputs[name] for name in names[first : first + BITS]])}"
            for at, names in enumerate(own, 1)
            if names[first:]
        ]
        columns[f"own_{first // BITS}"] = f"multiIf({', '.join(branches)}, toUInt64(0))"
    unpacked = [
        {name: name for name in task.inputs(VALUE)}
        | {name: f"bitTest(common, {common.index(name)})" for name in task.inputs(KNOWN, TEST) if name in common}
        | {name: f"bitTest(own_{at // BITS}, {at % BITS})" for at, name in enumerate(names)}
        for task, names in zip(bundle.tasks, own, strict=True)
    ]
    return _Layout(columns, unpacked)


def _eager(bundle: Bundle, own: Sequence[Sequence[str]]) -> str:
    """0, having read what the own bits of many groups are about: each group would read it again of its calls."""
    readers = Counter(
        subject
        for task, names in zip(bundle.tasks, own, strict=True)
        for subject in {task.told.read[name] for name in names if name in task.told.read}
    )
    shared = sorted(subject for subject, many in readers.items() if many * SHARED >= len(bundle.tasks))
    return f"ignore({', '.join(shared)})"


def _packed(bits: Sequence[str]) -> str:
    return " + ".join(["toUInt64(0)", *(f"{bit} * toUInt64({1 << at})" for at, bit in enumerate(bits))])


def _said(bundle: Bundle, layout: _Layout, cases: pa.Table) -> pa.Table:
    """The verdicts of cases, in their order."""
    numbered = cases.append_column("case", pa.array(np.arange(cases.num_rows, dtype=np.uint32)))
    selects = [
        task.told.over("case", f"(SELECT {', '.join(['case', *_named(unpacked)])} FROM cases WHERE program = {at})")
        for at, (task, unpacked) in enumerate(zip(bundle.tasks, layout.unpacked, strict=True), 1)
    ]

    def ask(some: Sequence[str]) -> pa.Table:
        statement = f"{' UNION ALL '.join(some)} SETTINGS {_FOR_CASES}"
        return _answer(bundle.window, statement, bundle.holes, {"cases": numbered})

    # Planning takes longer than running, and uses one thread.
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="cases") as pool:
        return pa.concat_tables(pool.map(ask, _cut(selects))).sort_by("case")


def _cut(selects: Sequence[str]) -> Iterator[Sequence[str]]:
    some: list[str] = []
    for select in selects:
        if some and sum(map(len, some)) + len(select) > TOGETHER:
            yield some
            some = []
        some.append(select)
    yield some


def _named(columns: Mapping[str, str]) -> Sequence[str]:
    return [name if expression == name else f"{expression} AS {name}" for name, expression in columns.items()]


def _answer(window: Window, sql: str, holes: Parameters, external: Mapping[str, pa.Table] | None = None) -> pa.Table:
    if len(sql) > LARGEST:
        raise TooMuch(
            f"policies of one destination make a statement of {len(sql):,} letters, expected at most {LARGEST:,}: "
            "fewer rules, or more selective ones"
        )
    parameters = {name: holes.values[name] for name in declared(sql)}
    settings = _FOR_LARGE if len(sql) > MOST_TEXT else None
    return window.engine.query(sql, parameters, settings=settings, external=external)
