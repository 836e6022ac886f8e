"""Graphs as data, and back to the same graph; digests that tell programs apart and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memline.ir.check import check
from memline.ir.codec import decode, digest, encode
from memline.ir.emit import to_jaxpr
from memline.ir.graph import Graph, Op
from memline.ir.plain import NotPlain
from memline.options import Options
from memline.plan.search import search
from memline.planning import prepared_graph
from tests.comparing import kernel_sums
from tests.drawing import Drawn, programs

X = jax.ShapeDtypeStruct((60, 40), jnp.float32)


def graph_of(fun: Callable[..., Any], *args: Any) -> Graph:
    return prepared_graph(jax.make_jaxpr(fun)(*args), "cpu")


def planned(graph: Graph, share: float = 0.3) -> Graph:
    """The graph after a search on the model alone, for a share of what it needs."""
    asked = Options(split_for_speed=0)
    whole = search(graph, limit_bytes=1 << 60, alias_bytes=0, platform="cpu", options=asked, judge=lambda _: 0)
    fixed, total = whole.peak.fixed_bytes, whole.peak.total_bytes
    limit_bytes = fixed + int(share * (total - fixed))
    return search(graph, limit_bytes=limit_bytes, alias_bytes=0, platform="cpu", options=asked, judge=lambda _: 0).graph


def there_and_back(graph: Graph, anchor: Graph) -> Graph:
    return decode(json.loads(json.dumps(encode(graph, anchor))), anchor)


def assert_equal(found: Graph, expected: Graph) -> None:
    check(found)
    assert str(found) == str(expected)  # sources too
    assert str(to_jaxpr(found)) == str(to_jaxpr(expected))


class TestThereAndBack:
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(drawn=programs(), share=st.floats(0.05, 0.9))
    def test_drawn_programs(self, drawn: Drawn, share: float):
        graph = graph_of(drawn.fun, drawn.x, drawn.y)
        made = planned(graph, share)
        again = graph_of(drawn.fun, drawn.x, drawn.y)  # as another process has it
        assert_equal(decode(encode(made, graph), again), made)

    def test_what_ops_hold_beside_numbers(self):
        table = jnp.arange(40.0)

        def fun(x):
            drawn = jax.random.normal(jax.random.key(3), x.shape)
            x = jax.lax.while_loop(lambda v: v[0, 0] > 1, lambda v: jax.nn.relu(v) - 1, x)
            x = jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x + drawn) * table
            x = x.at[jnp.arange(7), 2].add(1.0, mode="drop")
            jax.debug.callback(print, x[0, 0])
            return jax.pure_callback(np.sin, X, x).astype(jnp.bfloat16)

        graph = graph_of(fun, X)
        assert_equal(there_and_back(graph, graph), graph)
        found = there_and_back(graph, graph)
        assert [node.effects for node in found.nodes if isinstance(node, Op)] == [
            node.effects for node in graph.nodes if isinstance(node, Op)
        ]
        assert {v.name: id(v.const) for v in found.consts if v.ndim} == {
            v.name: id(v.const) for v in graph.consts if v.ndim
        }

    def test_scans_and_keys_that_are_carried(self):
        def fun(key, x):
            def step(key, row):
                key, sub = jax.random.split(key)
                return key, row + jax.random.uniform(sub, row.shape)

            return jax.lax.scan(step, key, x)[1].sum()

        graph = graph_of(fun, jax.random.key(0), X)
        assert_equal(there_and_back(graph, graph), graph)

    def test_made_of_another_program_is_refused(self):
        graph, other = graph_of(jnp.sin, X), graph_of(lambda x: jax.pure_callback(np.sin, X, x), X)
        with pytest.raises(NotPlain, match="the program as written does not hold"):
            encode(other, graph)

    @pytest.mark.parametrize(
        "damage", [{"names": []}, {"kinds": []}, {"graph": [[0], [5, 0, 1, 9], [1]]}, {"avals": 3}]
    )
    def test_nonsense_is_refused(self, damage):
        graph = graph_of(jnp.sin, X)
        with pytest.raises(NotPlain):
            decode({**encode(graph, graph), **damage}, graph)


def plain(x):
    return jnp.tanh(x * 2.0).sum(0)


def looped(step: float) -> Callable[[Any], Any]:
    return lambda x: jax.lax.while_loop(lambda v: v[0, 0] > 1, lambda v: v - step, x)


class TestDigest:
    def test_lines_and_names_do_not_matter(self):
        def same(y):

            scaled = y * 2.0
            return jnp.tanh(scaled).sum(axis=0)

        assert digest(graph_of(plain, X)) == digest(graph_of(same, X)) == digest(graph_of(jax.jit(same), X))

    @pytest.mark.parametrize(
        "other",
        [
            lambda x: jnp.tanh(x * 3.0).sum(0),
            lambda x: jnp.tanh(x * 2.0).sum(1),
            lambda x: jnp.sin(x * 2.0).sum(0),
            lambda x: (jnp.tanh(x * 2.0).sum(0), x),
            lambda x: jnp.tanh(x[:-1] * 2.0).sum(0),
            lambda x: jnp.tanh(x.astype(jnp.bfloat16) * 2.0).sum(0),
        ],
    )
    def test_programs_are_told_apart(self, other):
        assert digest(graph_of(plain, X)) != digest(graph_of(other, X))

    def test_so_are_the_types_of_arguments(self):
        others = (((60, 41), jnp.float32), ((60, 40), jnp.float16), ((40, 60), jnp.float32))
        found = {digest(graph_of(plain, jax.ShapeDtypeStruct(*other))) for other in others}
        assert len(found | {digest(graph_of(plain, X))}) == 4

    def test_so_are_programs_inside(self):
        assert digest(graph_of(looped(1.0), X)) == digest(graph_of(looped(1.0), X))
        assert digest(graph_of(looped(1.0), X)) != digest(graph_of(looped(2.0), X))
        assert digest(graph_of(lambda x: looped(1.0)(jax.nn.relu(x)), X)) != digest(graph_of(looped(1.0), X))

    def test_the_data_of_arrays_does_not_matter_but_their_types_do(self):
        def plus(table: Any) -> str:
            return digest(graph_of(lambda x: x + table, X))

        assert plus(np.zeros(40, np.float32)) == plus(np.ones(40, np.float32))
        assert plus(np.zeros(40, np.float32)) != plus(np.zeros((1, 40), np.float32))

    def test_what_has_no_stable_text_is_refused(self):
        class Opaque:
            def __call__(self, x: Any) -> Any:
                return x

        with pytest.raises(NotPlain, match="Opaque is known by its place in memory only"):
            digest(graph_of(lambda x: jax.pure_callback(Opaque(), X, x), X))

    def test_functions_are_told_by_their_names(self):
        assert digest(graph_of(lambda x: jax.pure_callback(np.sin, X, x), X))
        named = [digest(graph_of(lambda x, f=f: jax.pure_callback(f, X, x), X)) for f in (plain, plain, looped)]
        assert named[0] == named[1] != named[2]

    def test_it_is_the_same_in_every_process(self):
        root = Path(__file__).parents[2]
        text = (
            "import jax, jax.numpy as jnp; from tests.ir.test_codec import *; "
            "print(digest(graph_of(kernel_sums, jax.ShapeDtypeStruct((50,), jnp.float32))), "
            "digest(graph_of(jax.grad(lambda x: jax.nn.logsumexp(jnp.sort(x) @ x.T)), X)))"
        )
        environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
        found = {
            subprocess.run(
                [sys.executable, "-c", text],
                env={**environment, "PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(found) == 1
        assert found.pop().split()[0] == digest(graph_of(kernel_sums, jax.ShapeDtypeStruct((50,), jnp.float32)))
