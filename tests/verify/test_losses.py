"""What is read off a program's text: updates in place, copies in loops, products that the library no longer makes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from memline import compat
from memline.plan.strategies import as_compiler_options
from memline.verify.losses import loss

SMALL_LOOPS = "xla_cpu_small_while_loop_byte_threshold"
FUSION = ("xla_cpu_use_multi_output_fusion", "true")
HEAD = "HloModule m\n\n"
COPY = """%body (p: (s32[], f32[{n}])) -> (s32[], f32[{n}]) {{
  %p = (s32[], f32[{n}]{{0}}) parameter(0)
  %g = f32[{n}]{{0}} get-tuple-element(%p), index=1
  %c = f32[{n}]{{0}} {op}(%g)
  ROOT %t = (s32[], f32[{n}]{{0}}) tuple(%g, %c)
}}

ENTRY %main (a: f32[{n}]) -> f32[{n}] {{
  %a = f32[{n}]{{0}} parameter(0)
  %w = (s32[], f32[{n}]{{0}}) while(%a), condition=%cond, body=%body
  ROOT %r = f32[{n}]{{0}} copy(%a)
}}
"""
WHOLE = """%step (p: f32[50,20], q: f32[{right}]) -> f32[{made}] {{
  %p = f32[50,20]{{1,0}} parameter(0)
  %q = f32[{right}]{{1,0}} parameter(1)
  ROOT %d = f32[{made}] dot(%p, %q), {summed}
}}

ENTRY %main (a: f32[50,20], b: f32[{right}]) -> f32[{made}] {{
  %a = f32[50,20]{{1,0}} parameter(0)
  %b = f32[{right}]{{1,0}} parameter(1)
  ROOT %c = f32[{made}] call(%a, %b), to_apply=%step{call}
}}
"""


def text(fun: Any, *args: Any, options: tuple[tuple[str, Any], ...] = ()) -> str:
    compat.pass_extra_options()
    return jax.jit(fun, compiler_options=as_compiler_options(options)).lower(*args).compile().as_text() or ""


def stacking(x: Any) -> Any:
    """Its two stacks, of one size, are updated together under multi-output fusion."""
    return lax.scan(lambda c, _: (jnp.sin(c), (jnp.cos(c), jnp.tanh(c))), x, None, length=300)


def test_a_program_lost_nothing_against_itself():
    for options in ((), (FUSION,), ((SMALL_LOOPS, 65536),)):
        found = text(stacking, jnp.ones(40), options=options)
        assert loss(found, found) == ""
    assert loss("", "") == ""


def test_updates_that_are_made_together():
    plain = text(stacking, jnp.ones(40))
    together = text(stacking, jnp.ones(40), options=(FUSION, (SMALL_LOOPS, 65536)))
    assert "updates in place" in loss(together, plain)
    assert loss(plain, together) == ""


@pytest.mark.parametrize(("size", "lost"), [(1000, False), (100_000, True)])
def test_copies_in_loops(size, lost):
    copied, given = (HEAD + COPY.format(n=size, op=op) for op in ("copy", "negate"))
    assert ("copies 390.63 KiB more" in loss(copied, given)) == lost
    assert loss(given, copied) == ""


@pytest.mark.parametrize(
    ("right", "made", "lost"), [("20,30", "50,30", True), ("20,1", "50,1", False), ("20,30", "50,20,20,30", False)]
)
def test_products_that_are_written_out(right, made, lost):
    summed = "lhs_contracting_dims={1}, rhs_contracting_dims={0}" if made.count(",") == 1 else ""
    whole = HEAD + WHOLE.format(right=right, made=made, summed=summed, call=', xla_cpu_small_call="true"')
    plain = whole.replace(', xla_cpu_small_call="true"', "")
    assert ("library" in loss(whole, plain)) == lost
    assert loss(plain, whole) == ""


def test_a_product_that_xla_itself_writes_out():
    def fun(w, x):
        return lax.fori_loop(0, 50, lambda _, x: jnp.einsum("ki,kj->ij", x, w) / 50, x)

    shapes = [jax.ShapeDtypeStruct((50, 50), jnp.float32)] * 2
    plain, whole = text(fun, *shapes), text(fun, *shapes, options=((SMALL_LOOPS, 1 << 20),))
    assert "xla_cpu_small_call" in whole
    assert "library" in loss(whole, plain)


def test_a_matrix_times_a_vector_is_no_product_of_matrices():
    def fun(w, x):
        return lax.fori_loop(0, 50, lambda _, x: jnp.tanh(w @ x), x)

    plain, whole = (text(fun, jnp.ones((50, 50)), jnp.ones(50), options=((SMALL_LOOPS, n),)) for n in (0, 1 << 16))
    assert "xla_cpu_small_call" in whole
    assert loss(whole, plain) == ""
