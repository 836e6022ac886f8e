"""`memline.limit`, and `memline.jit` inside other JAX code: the planned program takes part in transformations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.compiling import Compiler
from tests.comparing import TIGHT, N, assert_same, kernel_sums, points

BOUNDED = memline.limit(kernel_sums, TIGHT)
ROOMY = memline.limit(kernel_sums, 4 * TIGHT)
PAIR = np.stack([np.linspace(0, 1, 100), np.linspace(1, 3, 100)]).astype(np.float32)


def total(fun: Any) -> Any:
    return lambda x: fun(x).sum()


def planned_temp_bytes(fun: Any, *args: Any) -> int:
    """What the whole of an outer program takes when the limited part is spliced into it."""
    options = {"xla_cpu_experimental_ynn_fusion_type": "", "xla_disable_hlo_passes": "dot-library-rewriter"}
    stats = jax.jit(fun, compiler_options=options).lower(*args).compile().memory_analysis()
    assert stats is not None
    return stats.temp_size_in_bytes


class TestUnderTransformations:
    """Each is compared with the same transformation of the plain function."""

    @pytest.mark.parametrize("wrap", [memline.limit, lambda f, limit: memline.jit(f, memory_limit=limit)])
    @pytest.mark.parametrize(
        "transform",
        [
            jax.jit,
            lambda f: jax.grad(total(f)),
            lambda f: jax.jit(jax.value_and_grad(total(f))),
            lambda f: lambda x: jax.jvp(f, (x,), (x,)),
            lambda f: lambda x: jax.vjp(f, x)[1](x),
            lambda f: lambda x: jax.linearize(f, x)[1](x),
            lambda f: jax.grad(total(jax.checkpoint(f))),
            lambda f: lambda x: lax.map(f, x.reshape(2, -1)),
        ],
        ids=["jit", "grad", "jit value_and_grad", "jvp", "vjp", "linearize", "checkpoint", "map"],
    )
    def test_of_one_argument(self, wrap, transform):
        assert_same(transform(wrap(kernel_sums, 150_000))(points()), transform(kernel_sums)(points()))

    @pytest.mark.parametrize(
        "transform",
        [
            jax.vmap,
            lambda f: jax.jit(jax.vmap(f, in_axes=1, out_axes=1)),
            lambda f: jax.vmap(jax.grad(total(f))),
            lambda f: jax.grad(total(jax.vmap(f))),
        ],
        ids=["vmap", "vmap of another axis", "vmap of grad", "grad of vmap"],
    )
    def test_of_a_batch(self, transform):
        assert_same(transform(BOUNDED)(PAIR), transform(kernel_sums)(PAIR))

    @pytest.mark.parametrize("transform", [jax.hessian, jax.jacfwd, jax.jacrev])
    def test_second_derivatives_and_jacobians(self, transform):
        x = points()[:40]
        outer = (lambda f: transform(total(f))) if transform is jax.hessian else transform
        assert_same(outer(ROOMY)(x), outer(kernel_sums)(x))

    def test_linear_transpose(self):
        def product(v):
            return jnp.exp(-((points()[:, None] - points()[None, :]) ** 2) / 2) @ v

        bounded = memline.limit(product, TIGHT)
        assert_same(*(jax.linear_transpose(f, points())(points()) for f in (bounded, product)))
        scaled = memline.limit(lambda v, s: product(v) * s, TIGHT)
        pulled = jax.linear_transpose(lambda v: scaled(v, points()), points())(points())
        assert_same(pulled, jax.linear_transpose(lambda v: product(v) * points(), points())(points()))

    def test_what_it_closes_over_is_differentiated_and_batched(self):
        def fun(scale, limit):
            return limit(lambda x: kernel_sums(x * scale), TIGHT)(points()).sum()

        def plain(fun, _):
            return fun

        for transform in (jax.grad, lambda f: lambda s: jax.vmap(f)(jnp.stack([s, s + 1])), jax.jit):
            found = transform(lambda s: fun(s, memline.limit))(2.0)
            assert_same(found, transform(lambda s: fun(s, plain))(2.0))

    def test_trees_and_auxiliary_results(self):
        def loss(params, x):
            sums = kernel_sums(x * params["scale"])
            return (sums * params["shift"][0]).mean(), {"count": (sums > -1).sum(), "none": None, "x": x}

        params = {"scale": jnp.float32(2), "shift": (jnp.float32(3), None)}
        bounded, plain = (jax.value_and_grad(f, has_aux=True) for f in (memline.limit(loss, TIGHT), loss))
        assert_same(bounded(params, points()), plain(params, points()))

    def test_integer_arguments_and_results(self):
        def fun(x, n, flags):
            sums = kernel_sums(x) * n
            return jnp.where(flags, sums, 0).sum(), (sums > -1).sum()

        flags = points() > 0.3
        bounded = memline.limit(fun, TIGHT)
        for transform in (
            lambda f: jax.grad(lambda x: f(x, 3, flags)[0]),
            lambda f: lambda x: jax.jvp(lambda x: f(x, jnp.int32(3), flags), (x,), (x,))[1][0],
            lambda f: lambda x: jax.vmap(lambda n: f(x, n, flags))(jnp.arange(3)),
        ):
            assert_same(transform(bounded)(points()), transform(fun)(points()))

    def test_integers_can_be_asked_for_their_derivative(self):
        bounded = memline.limit(lambda x, n: (kernel_sums(x) * n).sum(), TIGHT)
        _, none = jax.grad(bounded, (0, 1), allow_int=True)(points(), jnp.arange(N))
        assert none.dtype == jax.dtypes.float0

    def test_keys(self):
        def noisy(key, x):
            return kernel_sums(x) * jax.random.normal(key, x.shape)

        bounded = memline.limit(noisy, TIGHT)
        keys = jax.random.split(jax.random.key(0), 2)
        assert_same(jax.vmap(bounded)(keys, PAIR), jax.vmap(noisy)(keys, PAIR))
        found, expected = (jax.grad(lambda x, k, f=f: f(k, x).sum())(points(), keys[0]) for f in (bounded, noisy))
        assert_same(found, expected)

    def test_batching_some_arguments_of_a_tree(self):
        def fun(d):
            return kernel_sums(d["x"]) * d["y"]

        batch = {"x": PAIR, "y": PAIR[0]}
        mapped = [jax.vmap(f, in_axes=({"x": 0, "y": None},))(batch) for f in (memline.limit(fun, TIGHT), fun)]
        assert_same(*mapped)


class TestInsideControlFlow:
    @pytest.mark.parametrize(
        "program",
        [
            lambda f: lambda x: lax.scan(lambda c, _: (f(c) / N, c[0]), x, None, length=3),
            lambda f: lambda x: lax.fori_loop(0, 3, lambda _, c: f(c) / N, x),
            lambda f: lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, f(c[1]) / N), (0, x)),
            lambda f: lambda x: lax.cond(x[0] > 0, f, lambda x: x, x),
            lambda f: lambda x: lax.switch(1, [lambda x: x, f], x),
        ],
        ids=["scan", "fori_loop", "while_loop", "cond", "switch"],
    )
    def test_loops_and_branches(self, program):
        for outer in (lambda f: f, jax.jit):
            assert_same(outer(program(BOUNDED))(points()), outer(program(kernel_sums))(points()))

    def test_a_gradient_through_a_scan(self):
        def steps(f):
            return jax.grad(lambda x: lax.scan(lambda c, _: (f(c) / N, None), x, None, length=3)[0].sum())

        assert_same(steps(memline.limit(kernel_sums, 150_000))(points()), steps(kernel_sums)(points()))


@jax.custom_jvp
def louder_sine(x):
    return jnp.sin(x)


louder_sine.defjvp(lambda primals, tangents: (louder_sine(*primals), 2 * jnp.cos(primals[0]) * tangents[0]))


@jax.custom_vjp
def loudest_sine(x):
    return jnp.sin(x)


loudest_sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (3 * jnp.cos(x) * g,))


@pytest.mark.parametrize("sine", [louder_sine, loudest_sine])
class TestCustomDerivatives:
    def test_inside_a_limited_function(self, sine):
        def sums(x):
            return sine(x[:, None] * x[None, :]).sum(1)

        bounded = memline.limit(sums, 300_000)
        for transform in (
            lambda f: jax.grad(total(f)),
            lambda f: jax.jit(jax.grad(total(f))),
            lambda f: lambda x: jax.vmap(jax.grad(total(f)))(x.reshape(2, -1)),
            lambda f: jax.grad(lambda x: lax.scan(lambda c, _: (f(c) / N, None), x, None, length=2)[0].sum()),
        ):
            assert_same(transform(bounded)(points()), transform(sums)(points()))

    def test_of_a_gradient_inside(self, sine):
        gradient = jax.grad(lambda x: sine(x[:, None] * x[None, :]).sum())
        assert_same(memline.limit(gradient, 300_000)(points()), gradient(points()))


class TestWhatIsSpliced:
    def test_the_outer_program_is_smaller(self):
        def outer(f):
            return lambda x: f(jnp.sin(x)) + x

        assert planned_temp_bytes(outer(kernel_sums), points()) > 1_000_000
        assert planned_temp_bytes(outer(BOUNDED), points()) < TIGHT

    def test_every_part_of_a_gradient_keeps_the_limit(self):
        assert planned_temp_bytes(jax.grad(total(kernel_sums)), points()) > 1_000_000
        assert planned_temp_bytes(jax.grad(total(memline.limit(kernel_sums, TIGHT))), points()) < TIGHT + 8 * N

    def test_a_batch_keeps_the_limit(self):
        batch = np.stack([points(), points(), points()])
        assert planned_temp_bytes(jax.vmap(memline.limit(kernel_sums, TIGHT)), batch) < TIGHT

    def test_too_little_is_told_when_the_outer_program_is_lowered(self):
        outer = jax.jit(lambda x: memline.limit(kernel_sums, 3000)(x) + 1)
        assert outer.eval_shape(points()).shape == (N,)
        with pytest.raises(memline.MemoryLimitError, match="arguments") as caught:
            outer.lower(points())
        assert not any("donate" in option for option in caught.value.options), "nothing can be donated in there"

    def test_nothing_is_planned_without_a_limit(self):
        bounded = memline.limit(kernel_sums)
        assert "memline" not in str(jax.make_jaxpr(bounded)(points()))
        assert_same(bounded(points()), jax.jit(kernel_sums)(points()), rtol=0)

    def test_static_arguments(self):
        def fun(x, n, *, power):
            return kernel_sums(x) * n**power

        bounded = memline.limit(fun, TIGHT, static_argnums=1, static_argnames="power")
        assert bounded.__name__ == "fun"
        found = jax.jit(lambda x: bounded(x, 2, power=3))(points())
        assert_same(found, jax.jit(lambda x: fun(x, 2, power=3))(points()))

    def test_a_plan_is_for_the_program_it_was_made_for(self):
        """Its derivative is another program, and is planned under the plan's limit."""
        plan = memline.plan(kernel_sums, TIGHT)(points())
        replayed = memline.limit(kernel_sums, plan=plan)
        assert_same(jax.jit(replayed)(points()), jax.jit(kernel_sums)(points()))
        assert planned_temp_bytes(jax.grad(total(replayed)), points()) < TIGHT + 8 * N

    def test_names_of_mapped_axes_are_refused(self):
        shares = memline.limit(lambda x: kernel_sums(x) / lax.psum(x, "i"), TIGHT)
        with pytest.raises(memline.ArgumentError, match=r"uses the axis i .* Put memline around"):
            jax.vmap(shares, axis_name="i")(PAIR)
        outside = memline.jit(jax.vmap(lambda x: kernel_sums(x) / lax.psum(x, "i"), axis_name="i"), memory_limit=TIGHT)
        assert_same(outside(PAIR), jax.vmap(lambda x: kernel_sums(x) / lax.psum(x, "i"), axis_name="i")(PAIR))


class TestSideEffects:
    @pytest.mark.parametrize(
        ("transform", "times"),
        [
            (jax.jit, 1),
            (lambda f: jax.jit(lambda x: (f(x), 1)[1]), 1),
            (lambda f: jax.grad(total(f)), 1),
            (lambda f: lambda x: jax.vmap(f)(x.reshape(2, -1)), 2),
            (lambda f: lambda x: lax.scan(lambda c, _: (f(c) / N, None), x, None, length=3), 3),
        ],
        ids=["jit", "result not used", "grad", "vmap", "scan"],
    )
    def test_happen_as_often_as_without_a_limit(self, transform, times):
        counts = []
        for wrap in (lambda f: f, lambda f: memline.limit(f, 150_000)):
            seen: list[float] = []

            def fun(x, seen=seen):
                jax.debug.callback(lambda v: seen.append(float(v)), x[1])
                return kernel_sums(x)

            jax.block_until_ready(transform(wrap(fun))(points()))
            jax.effects_barrier()
            counts.append(sorted(seen))
        assert counts[0] == counts[1]
        assert len(counts[0]) == times

    def test_ordered_ones(self, capfd):
        def fun(x):
            jax.debug.print("first {}", x[0], ordered=True)
            return kernel_sums(x)

        jax.jit(memline.limit(fun, TIGHT))(points())
        jax.effects_barrier()
        assert capfd.readouterr().out == "first 0.0\n"


class TestOften:
    """Eager transformations run the planned program again and again without planning it anew."""

    @pytest.mark.parametrize("transform", [lambda f: jax.grad(total(f)), jax.vmap], ids=["grad", "vmap"])
    def test_plans_are_kept(self, transform, monkeypatch):
        compiled = []
        candidate = Compiler.candidate
        monkeypatch.setattr(Compiler, "candidate", lambda self, graph: compiled.append(graph) or candidate(self, graph))
        function = transform(memline.limit(lambda x: 2 * kernel_sums(x), 150_000))
        x = PAIR if transform is jax.vmap else points()
        function(x)
        assert compiled
        compiled.clear()
        function(x)
        assert not compiled
