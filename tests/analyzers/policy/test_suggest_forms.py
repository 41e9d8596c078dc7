"""Clauses say what they were made of and nothing else; paths mean themselves; labels tell a workload apart."""

from __future__ import annotations

import itertools

import pytest
import re2  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st

from analyzers.policy.engines import Place
from analyzers.policy.istio.compile import template
from analyzers.policy.suggest import istio
from analyzers.policy.suggest.grants import Operation, alike, clauses
from analyzers.policy.suggest.labels import own_labels
from analyzers.policy.suggest.paths import Path, of_path, of_template
from analyzers.policy.suggest.regexes import regex
from analyzers.policy.suggest.targets import by_labels, for_istio
from analyzers.policy.workloads import Cluster, Workload

_PATHS = st.sampled_from([Path(("a",)), Path(("a", None)), Path((None, "b")), Path(("c",), rest=True)])
_OPERATIONS = st.builds(Operation, st.sampled_from([80, 81, 82]), st.sampled_from(["GET", "PUT", "POST"]), _PATHS)


@given(st.sets(_OPERATIONS, max_size=20))
def test_clauses_hold_of_the_same_operations_and_of_no_others(operations: set[Operation]) -> None:
    said = [
        Operation(port, method, path)
        for one in clauses(operations)
        for port, method, path in itertools.product(one.ports, one.methods, one.paths)
    ]
    assert set(said) == operations
    assert len(said) == len(operations)


@given(st.dictionaries(st.text(max_size=3), st.frozensets(st.integers(0, 3))))
def test_alike_keeps_everybody_with_all_that_is_granted(grants: dict[str, frozenset[int]]) -> None:
    found = alike(grants)
    assert {one: granted for several, granted in found for one in several} == grants
    assert len({granted for _, granted in found}) == len(found)


_SEGMENTS = st.lists(
    st.one_of(st.none(), st.text(max_size=5).filter(lambda one: "/" not in one)), min_size=1, max_size=5
)


@given(_SEGMENTS, st.booleans())
def test_a_path_as_a_regular_expression_matches_what_it_means(segments: list[str | None], rest: bool) -> None:
    path = Path(tuple(segments), rest)
    meant = "/" + "/".join("x1" if one is None else one for one in segments)
    assert re2.fullmatch(regex(path), meant + ("/and/more\n" if rest else ""))
    assert not re2.fullmatch(regex(path), meant + "x/" if not rest else "x" + meant)


@given(_SEGMENTS, st.booleans())
def test_what_istio_takes_matches_what_it_means(segments: list[str | None], rest: bool) -> None:
    path = Path(tuple(segments), rest)
    text = istio.written(path)
    if text is None:
        return
    meant = "/" + "/".join("x1" if one is None else one for one in segments) + ("/and/more" if rest else "")
    if "{" in text:
        assert re2.fullmatch(template(text), meant)
    else:
        assert text == meant
        assert not text.endswith("*")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (of_template("/orders/{id}", False), "/orders/{*}"),
        (of_template("/orders/{id}", True), "/orders/{*}/"),
        (of_template("/files/report-{id}.pdf", False), "/files/{*}"),
        (of_template("/a/{id}/**", False), "/a/{*}/{**}"),
        (of_template("/", False), "/"),
        (of_template("/with space/{id}", False), None),
        (of_template("/100%/{id}", False), None),
        (of_template("/100%25/{id}", False), "/100%25/{*}"),
        (of_template("/a*/{id}", False), None),
        (of_path("/with space"), "/with space"),
        (of_path("/ends*"), None),
        (of_path("/{*}"), None),
        (of_path("*"), None),
        (of_path("/" + "x" * 1000), None),
        (of_path("/" * 40), None),
    ],
)
def test_paths_as_istio_has_them(path: Path | None, text: str | None) -> None:
    assert (istio.written(path) if path else None) == text


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        ("spiffe://cluster.local/ns/a/sa/b", "cluster.local/ns/a/sa/b"),
        ("cluster.local/ns/a/sa/b", None),
        ("spiffe://", None),
        ("spiffe://*", None),
        ("spiffe://td/ns/a/sa/*", None),
        ("spiffe://*/ns/a/sa/b", None),
        ("spiffe://spiffe://x", "spiffe://x"),
    ],
)
def test_principals_as_istio_has_them(identity: str, text: str | None) -> None:
    assert istio.principal(identity) == text


def _cluster(**workloads: list[dict[str, str]]) -> Cluster:
    return Cluster({("shop", name): Workload("shop", name, labels=tuple(sets)) for name, sets in workloads.items()})


@pytest.mark.parametrize(
    ("workloads", "own"),
    [
        ({"a": [{"app": "a"}], "b": [{"app": "b"}]}, {"app": "a"}),
        ({"a": [{"app": "x", "version": "1"}], "b": [{"app": "x", "version": "2"}]}, {"app": "x", "version": "1"}),
        ({"a": [{"app": "x"}], "b": [{"app": "x"}]}, None),
        ({"a": [{"app": "x"}], "b": [{"app": "x", "tier": "1"}]}, None),
        ({"a": [{"app": "x", "tier": "1"}], "b": [{"app": "x"}]}, {"app": "x", "tier": "1"}),
        ({"a": [{"app": "a", "track": "1"}, {"app": "a", "track": "2"}]}, {"app": "a"}),
        ({"a": [{"app": "a"}, {"app": "b"}]}, None),
        ({"a": []}, None),
        ({"a": [{"app.kubernetes.io/name": "a", "x": "1"}], "b": [{"x": "1"}]}, {"app.kubernetes.io/name": "a"}),
        ({"a": [{"app": "not a label's value", "x": "1"}]}, {"x": "1"}),
    ],
)
def test_labels_of_its_own(workloads: dict[str, list[dict[str, str]]], own: dict[str, str] | None) -> None:
    cluster = _cluster(**workloads)
    found = own_labels(cluster.workloads["shop", "a"], cluster)
    assert (dict(found) if found else None) == own


def test_in_istios_root_namespace_labels_must_be_nobody_elses_anywhere() -> None:
    workloads = {
        ("istio-system", "a"): Workload("istio-system", "a", labels=({"app": "a"},)),
        ("istio-system", "b"): Workload("istio-system", "b", labels=({"app": "b"},)),
        ("shop", "a"): Workload("shop", "a", labels=({"app": "a", "x": "1"},)),
    }
    cluster = Cluster(workloads)
    found = {key: for_istio(Place(workload, "http"), cluster) for key, workload in workloads.items()}
    assert found == {
        ("istio-system", "a"): "no_labels",
        ("istio-system", "b"): ("istio-system", "", (("app", "b"),)),
        ("shop", "a"): ("shop", "", (("app", "a"),)),
    }
    assert by_labels(Place(workloads["istio-system", "a"], "http"), cluster)[2] == (("app", "a"),)


def test_a_service_known_by_its_name_only_has_the_pods_of_its_workloads() -> None:
    sets = ({"app": "a", "version": "1"}, {"app": "a", "version": "2"})
    cluster = Cluster(
        {("shop", f"a-{number}"): Workload("shop", f"a-{number}", labels=(one,)) for number, one in enumerate(sets)}
        | {("shop", "b"): Workload("shop", "b", labels=({"app": "b"},))}
    )
    assert own_labels(Workload("shop", "", "a", labels=sets), cluster) == (("app", "a"),)
