"""Where boxes and lines go: a layered drawing from left to right.

The classical steps (K. Sugiyama, S. Tagawa, M. Toda, 1981): turn some edges round until there is no cycle, put each
node right of its callers, give long edges a place in every layer they pass, order the layers so that few lines cross,
then move everything as close to its neighbours as the order allows (least squares under gaps, by pooling adjacent
violators). Pure geometry: it knows sizes and index pairs, no names. The same input gives the same drawing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import rustworkx as rx

SWEEPS = 14
GAP = 22.0
"""Least distance (px) between two boxes of a layer."""
LANE = 13.0
"""Least distance (px) between a passing line and what is beside it."""
PORT = 11.0
"""Distance (px) between the lines that meet one side of a box."""


@dataclass(frozen=True, slots=True)
class Box:
    """A placed node: centre, size (px) and layer."""

    x: float
    y: float
    width: float
    height: float
    layer: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes in the order of the nodes; for each edge the points (px) through which its line goes, from its source."""

    boxes: list[Box]
    routes: list[list[tuple[float, float]]]
    width: float
    height: float


def layout(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    *,
    gaps: tuple[float, float] = (100.0, 180.0),
) -> Layout:
    """Place nodes of `sizes` (width, height in px) joined by `edges` (index pairs, no self-loops).

    `gaps` are the least and the greatest distance (px) between two layers: the more lines pass, the wider.
    """
    if not sizes:
        return Layout([], [], 0.0, 0.0)
    forward = acyclic(len(sizes), edges)
    rank = ranks(len(sizes), forward)
    chains, layer_of, heights = _with_lanes(sizes, forward, rank)
    order = _ordered(chains, layer_of)
    y = _vertical(order, chains, heights, len(sizes))
    return _placed(sizes, edges, forward, chains, rank, order, y, gaps)


def acyclic(count: int, edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The edges with those that close a cycle turned round; entry points (more calls out than in) come first."""
    out: list[list[int]] = [[] for _ in range(count)]
    surplus = [0] * count
    for source, destination in edges:
        out[source].append(destination)
        surplus[source] += 1
        surplus[destination] -= 1
    called = {destination for _, destination in edges}
    position: dict[int, int] = {}
    finished: dict[int, int] = {}
    for root in sorted(range(count), key=lambda node: (node in called, -surplus[node], node)):
        if root in position:
            continue
        position[root] = len(position)
        stack = [(root, iter(out[root]))]
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n not in position), None)
            if following is None:
                finished[node] = len(finished)
                stack.pop()
            else:
                position[following] = len(position)
                stack.append((following, iter(out[following])))
    return [(s, d) if finished[s] > finished[d] else (d, s) for s, d in edges]


def ranks(count: int, forward: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each node: right of all its callers; one that nobody calls stands just left of its first callee."""
    graph: rx.PyDiGraph[int, None] = rx.PyDiGraph(multigraph=False)
    graph.add_nodes_from(list(range(count)))
    graph.add_edges_from_no_data(sorted(set(forward)))
    rank = [0] * count
    for level, generation in enumerate(rx.topological_generations(graph)):
        for node in generation:
            rank[node] = level
    for node in range(count):
        if graph.in_degree(node) == 0 and graph.out_degree(node):
            rank[node] = min(rank[after] for after in graph.successor_indices(node)) - 1
    return rank


def _with_lanes(
    sizes: Sequence[tuple[float, float]], forward: Sequence[tuple[int, int]], rank: Sequence[int]
) -> tuple[list[list[int]], list[int], list[float]]:
    """Each edge as a chain with one member per layer; layer and height of every member (nodes first, then lanes)."""
    layer_of = list(rank)
    heights = [height for _, height in sizes]
    chains: list[list[int]] = []
    for source, destination in forward:
        chain = [source]
        for layer in range(rank[source] + 1, rank[destination]):
            chain.append(len(layer_of))
            layer_of.append(layer)
            heights.append(0.0)
        chains.append([*chain, destination])
    return chains, layer_of, heights


def _neighbours(chains: Sequence[Sequence[int]], count: int) -> tuple[list[list[int]], list[list[int]]]:
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for chain in chains:
        for left, right in pairwise(chain):
            before[right].append(left)
            after[left].append(right)
    return before, after


def _ordered(chains: Sequence[Sequence[int]], layer_of: Sequence[int]) -> list[list[int]]:
    """The members of each layer from top to bottom, with few crossings."""
    before, after = _neighbours(chains, len(layer_of))
    order: list[list[int]] = [[] for _ in range(max(layer_of) + 1)]
    seen: set[int] = set()
    # Start from a walk along the edges: what hangs together stands together.
    for root in sorted(range(len(layer_of)), key=lambda member: (layer_of[member], -len(after[member]), member)):
        stack = [root]
        while stack:
            member = stack.pop()
            if member not in seen:
                seen.add(member)
                order[layer_of[member]].append(member)
                stack.extend(reversed(after[member]))
    best, least = [list(layer) for layer in order], crossings(order, after)
    for sweep in range(SWEEPS):
        if least == 0:
            break
        rightwards = sweep % 2 == 0
        layers = range(1, len(order)) if rightwards else range(len(order) - 2, -1, -1)
        beside = before if rightwards else after
        for layer in layers:
            place = {member: index for index, member in enumerate(order[layer + (-1 if rightwards else 1)])}
            _sort_by_neighbours(order[layer], beside, place)
        found = crossings(order, after)
        if found < least:
            best, least = [list(layer) for layer in order], found
    _swap_neighbours(best, before, after)
    return best


def _sort_by_neighbours(layer: list[int], beside: Sequence[Sequence[int]], place: dict[int, int]) -> None:
    """Sort a layer by the mean place of its neighbours; members without any keep their relative place."""
    means: dict[int, float] = {}
    for index, member in enumerate(layer):
        places = [place[n] for n in beside[member] if n in place]
        means[member] = sum(places) / len(places) if places else index * max(len(place), 1) / len(layer)
    layer.sort(key=means.__getitem__)


def crossings(order: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> int:
    """How often lines cross, all layers together."""
    total = 0
    for left, right in pairwise(order):
        place = {member: index for index, member in enumerate(right)}
        ends: list[int] = []
        for member in left:
            targets = sorted(place[n] for n in after[member])
            total += sum(len(ends) - _not_above(ends, target) for target in targets)
            for target in targets:
                insort(ends, target)
    return total


def _not_above(ends: list[int], target: int) -> int:
    return bisect_left(ends, target + 1)


def _swap_neighbours(order: list[list[int]], before: list[list[int]], after: list[list[int]]) -> None:
    """Swap adjacent members while that removes crossings; a bounded number of rounds."""
    place = {member: index for layer in order for index, member in enumerate(layer)}
    for _ in range(6):
        improved = False
        for layer in order:
            for index in range(len(layer) - 1):
                upper, lower = layer[index], layer[index + 1]
                now = sum(_pair(side[upper], side[lower], place) for side in (before, after))
                swapped = sum(_pair(side[lower], side[upper], place) for side in (before, after))
                if swapped < now:
                    layer[index], layer[index + 1] = lower, upper
                    place[upper], place[lower] = index + 1, index
                    improved = True
        if not improved:
            return


def _pair(upper: Sequence[int], lower: Sequence[int], place: dict[int, int]) -> int:
    """Crossings between the lines of two adjacent members on one side."""
    below = sorted(place[member] for member in lower)
    return sum(bisect_left(below, place[member]) for member in upper)


def _vertical(
    order: Sequence[Sequence[int]], chains: Sequence[Sequence[int]], heights: Sequence[float], nodes: int
) -> list[float]:
    """The centre (px) of every member: near its neighbours, long lines straight, nothing overlapping."""
    before, after = _neighbours(chains, len(heights))
    y = [0.0] * len(heights)
    for layer in order:
        offsets = _offsets(layer, heights, nodes)
        middle = (offsets[-1] if offsets else 0.0) / 2
        for member, offset in zip(layer, offsets, strict=True):
            y[member] = offset - middle
    for sweep in range(SWEEPS):
        layers = order if sweep % 2 == 0 else list(reversed(order))
        for layer in layers:
            goals: list[float] = []
            weights: list[float] = []
            for member in layer:
                joined = [(n, 8.0 if n >= nodes and member >= nodes else 1.0) for n in before[member] + after[member]]
                weight = sum(w for _, w in joined)
                goals.append(sum(y[n] * w for n, w in joined) / weight if joined else y[member])
                weights.append(weight or 0.1)
            for member, found in zip(layer, spread(goals, weights, _offsets(layer, heights, nodes)), strict=True):
                y[member] = found
    top = min(y[member] - heights[member] / 2 for member in range(len(y)))
    return [value - top for value in y]


def _offsets(layer: Sequence[int], heights: Sequence[float], nodes: int) -> list[float]:
    """The least distance of each member from the first one."""
    offsets = [0.0] * len(layer)
    for index in range(1, len(layer)):
        upper, lower = layer[index - 1], layer[index]
        gap = GAP if upper < nodes and lower < nodes else LANE
        offsets[index] = offsets[index - 1] + heights[upper] / 2 + heights[lower] / 2 + gap
    return offsets


def spread(goals: Sequence[float], weights: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Positions nearest to `goals` (weighted least squares) that keep the order and the distances of `offsets`."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, members
    for goal, weight, offset in zip(goals, weights, offsets, strict=True):
        mean, total, size = goal - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            above, heavy, members = blocks.pop()
            mean = (mean * total + above * heavy) / (total + heavy)
            total, size = total + heavy, size + members
        blocks.append((mean, total, size))
    means = [mean for mean, _, size in blocks for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _placed(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    forward: Sequence[tuple[int, int]],
    chains: Sequence[Sequence[int]],
    rank: Sequence[int],
    order: Sequence[Sequence[int]],
    y: Sequence[float],
    gaps: tuple[float, float],
) -> Layout:
    """Columns for the layers, ports for the lines, and the points of every line."""
    passing = [0] * len(order)
    for chain in chains:
        for step in range(len(chain) - 1):
            passing[rank[chain[0]] + step] += 1
    left: list[float] = []
    right: list[float] = []
    x = 0.0
    for layer, members in enumerate(order):
        width = max((sizes[m][0] for m in members if m < len(sizes)), default=40.0)
        left.append(x)
        right.append(x + width)
        x += width + min(gaps[0] + 5.0 * passing[layer], gaps[1])
    boxes = [
        Box((left[rank[node]] + right[rank[node]]) / 2, y[node], width, height, rank[node])
        for node, (width, height) in enumerate(sizes)
    ]
    starts = _ports(boxes, [(chain[0], y[chain[1]], index) for index, chain in enumerate(chains)])
    ends = _ports(boxes, [(chain[-1], y[chain[-2]], index) for index, chain in enumerate(chains)])
    routes: list[list[tuple[float, float]]] = []
    for index, chain in enumerate(chains):
        first, last = boxes[chain[0]], boxes[chain[-1]]
        points = [(first.x + first.width / 2, starts[index])]
        for step, lane in enumerate(chain[1:-1], start=first.layer + 1):
            points += [(left[step], y[lane]), (right[step], y[lane])]
        points.append((last.x - last.width / 2, ends[index]))
        routes.append(points if edges[index] == forward[index] else points[::-1])
    bottom = max([box.y + box.height / 2 for box in boxes] + [y for route in routes for _, y in route])
    return Layout(boxes, routes, max(right), bottom)


def _ports(boxes: Sequence[Box], meeting: Sequence[tuple[int, float, int]]) -> dict[int, float]:
    """Where on its box's side each edge starts (or ends), sorted by where it comes from so that none cross there."""
    by_box: dict[int, list[tuple[float, int]]] = {}
    for node, far, edge in meeting:
        by_box.setdefault(node, []).append((far, edge))
    found: dict[int, float] = {}
    for node, lines in by_box.items():
        box = boxes[node]
        step = min(PORT, (box.height - 12) / max(len(lines) - 1, 1))
        for place, (_, edge) in enumerate(sorted(lines)):
            found[edge] = box.y + (place - (len(lines) - 1) / 2) * step
    return found
