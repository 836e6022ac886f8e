"""Donated arguments: which results take them over, as JAX decides it, and which donations are for nothing."""

import jax
import jax.numpy as jnp
import pytest

import memline
from memline.donation import Donations
from memline.ir.trace import trace
from tests.comparing import TIGHT, N, kernel_sums, limited, points

X, Y, M = jnp.ones(N), jnp.ones(N), jnp.ones((N, 3))
UNUSABLE = "Some donated buffers were not usable"


def swap(a, b, m):
    return b + 1, a + 1, m.sum()


def one_of_two(a, b, m):
    return a + b, m.sum(1).astype(jnp.int32)


def unread(a, b, m):
    return b * 2, m.sum(0)


def as_it_came(a, b, m):
    return a, kernel_sums(b), m


def twice_the_same(a, b, m):
    total = a + b
    return total, total, m


def other_types(a, b, m):
    return a.astype(jnp.int32), jnp.stack([b, b])[:1].T, m.T, (a + b).astype(jnp.int8)


PROGRAMS = [other_types, swap, one_of_two, unread, as_it_came, twice_the_same]


@pytest.mark.parametrize("keep_unused", [False, True])
@pytest.mark.parametrize("fun", PROGRAMS)
@pytest.mark.filterwarnings(f"ignore:{UNUSABLE}")
def test_results_take_over_what_jax_lets_them(fun, keep_unused):
    for flags in [(True, True, True), (False, True, True), (True, False, False)]:
        donated = tuple(i for i, flag in enumerate(flags) if flag)
        compiled = jax.jit(fun, donate_argnums=donated, keep_unused=keep_unused).lower(X, Y, M).compile()
        account = compiled.memory_analysis()
        assert account is not None
        donations = Donations(trace(fun, X, Y, M), flags, keep_unused)
        assert donations.shared_bytes == account.alias_size_in_bytes
        assert len(donations.takers) + len(donations.unused()) == len(donated)


@pytest.mark.parametrize("limit", [None, TIGHT])
def test_each_unused_donation_is_told_with_its_bytes(limit):
    def step(params, x):
        return {"w": params["w"] + kernel_sums(x), "steps": params["steps"] + 1}

    params = {"w": points(), "steps": jnp.int32(0), "old": jnp.ones((N, 3), jnp.int32)}
    with pytest.warns(UserWarning, match=UNUSABLE):
        plan = memline.plan(step, limit, donate_argnums=(0, 1))(params, points())
    assert tuple(note for note in plan.notes if "frees nothing" in note) == (
        "donating params['old'] (int32[500,3], 5.86 KiB) frees nothing: the program does not read it",
        "donating x (float32[500], 1.95 KiB) frees nothing: no result of its size is left to take it over",
    )
    assert str(plan).count("frees nothing") == 2
    assert plan.alias_bytes == 4 * N + 4


def test_a_donation_that_is_used_is_not_told():
    plan = memline.plan(lambda x: x + kernel_sums(x), TIGHT, donate_argnums=0)(points())
    assert not any("frees nothing" in note for note in plan.notes)


def test_what_frees_nothing_is_not_counted_as_freed():
    """Three arrays are held: the one that is donated is not read, so its memory is not reused."""

    def step(old, x):
        return -x

    with pytest.raises(memline.MemoryLimitError):
        limited(step, 3 * 4 * N - 1, donate_argnums=0)(points(), points())
    old = points()
    assert limited(step, 3 * 4 * N, donate_argnums=0)(old, points())[1] < 0
    plan = memline.plan(step, 3 * 4 * N, donate_argnums=0)(old, points())
    assert (plan.alias_bytes, plan.planned_peak_bytes, plan.compiled_peak_bytes) == (0, 3 * 4 * N, 3 * 4 * N)
    # Kept, it is passed to the program, and then its memory is reused.
    assert limited(step, 2 * 4 * N, donate_argnums=0, keep_unused=True)(old, points())[1] < 0
    assert old.is_deleted()
