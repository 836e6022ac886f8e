"""What is a problem and what is not, and what the sums over one say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memline.errors import PackingError
from memline.packing import Buffer, Gap, Pool, Problem
from memline.packing.numbers import MOST_IN_ALL


def test_segments_of_a_life_with_gaps():
    buffer = Buffer("a", 0, 10, 8, gaps=(Gap(2, 4), Gap(6, 10, (0, 3))))
    assert buffer.segments == ((0, 2, 0, 8), (4, 6, 0, 8), (6, 10, 0, 3))


def test_what_takes_nothing_has_no_segments():
    assert Buffer("a", 0, 3, 0).segments == ()
    assert Buffer("a", 0, 3, 4, gaps=(Gap(0, 3),)).segments == ()


def test_the_peak_load_is_of_one_time():
    problem = Problem((Buffer("a", 0, 3, 4), Buffer("b", 3, 9, 5), Buffer("c", 2, 4, 1)))
    assert problem.peak_load == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": ""}, "id"),
        ({"size": -1}, "size -1"),
        ({"size": 1.5}, "whole number"),
        ({"size": True}, "whole number"),
        ({"size": 2**63}, "64 bits"),
        ({"lower": 3, "upper": 3}, "dies after it is born"),
        ({"lower": -(2**62)}, "within 2.61"),
        ({"alignment": 0}, "alignment 0"),
        ({"offset": -4}, "offset -4"),
        ({"offset": 3, "alignment": 2}, "no multiple"),
        ({"hint": -1}, "hint -1"),
        ({"gaps": (Gap(0, 9),)}, "within its life"),
        ({"gaps": (Gap(1, 2), Gap(0, 1))}, "not after the one before"),
        ({"gaps": (Gap(1, 2, (0, 9)),)}, "window"),
    ],
)
def test_buffers_that_are_none(fields, message):
    with pytest.raises(PackingError, match=message):
        Buffer(**({"id": "a", "lower": 0, "upper": 3, "size": 4} | fields))


def test_gaps_and_pools_that_are_none():
    with pytest.raises(PackingError, match="ends after it begins"):
        Gap(3, 3)
    with pytest.raises(PackingError, match="window"):
        Gap(0, 3, (2, 2))
    with pytest.raises(PackingError, match="name"):
        Pool("")
    with pytest.raises(PackingError, match="capacity"):
        Pool("p", 0)


A, B = Buffer("a", 0, 3, 4), Buffer("b", 1, 5, 4)


@pytest.mark.parametrize(
    ("buffers", "capacity", "pools", "message"),
    [
        ((A, A), None, (), "there twice"),
        ((A,), 3, (), "larger than the capacity 3"),
        ((Buffer("a", 0, 3, 4, offset=6),), 8, (), "fixed at 6, larger"),
        ((Buffer("a", 0, 3, 4, pools=("q",)),), None, (Pool("p"),), "none of p"),
        ((A,), 8, (Pool("p"),), "not both"),
        ((A,), None, (Pool("p"), Pool("p")), "one name"),
        ((Buffer("a", 0, 3, 2**60), Buffer("b", 0, 3, 2**60)), None, (), "exceeds"),
        ((A, Buffer("b", 1, 5, 4, reuses=("c",))), None, (), "no other buffer"),
        ((A, Buffer("b", 1, 5, 5, reuses=("a",))), None, (), "smaller"),
        ((A, Buffer("b", 3, 5, 4, reuses=("a",))), None, (), "die while it lives"),
        ((Buffer("a", 0, 3, 4, offset=0), Buffer("b", 2, 5, 4, offset=3)), None, (), "collide"),
    ],
)
def test_buffers_that_make_no_problem(buffers, capacity, pools, message):
    with pytest.raises(PackingError, match=message):
        Problem(buffers, capacity, pools)


def test_sums_at_the_edge_are_numbers():
    assert Problem((Buffer("a", 0, 3, MOST_IN_ALL // 2 - 1),)).peak_load == MOST_IN_ALL // 2 - 1


def test_fixed_buffers_that_do_not_collide():
    Problem(
        (
            Buffer("a", 0, 3, 4, offset=0, pools=("p",)),
            Buffer("b", 3, 5, 4, offset=0, pools=("p",)),
            Buffer("c", 0, 5, 4, offset=4, pools=("p",)),
            Buffer("d", 2, 5, 4, offset=4, pools=("q",)),
            Buffer("e", 4, 6, 3, offset=0, pools=("p",), reuses=("b",)),
        ),
        pools=(Pool("p"), Pool("q")),
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6)), max_size=7))
def test_the_sweep_finds_collisions_that_comparing_finds(rows):
    buffers = [Buffer(str(k), a, a + n, size, offset=at) for k, (a, n, size, at) in enumerate(rows)]
    collide = any(
        a < b + other and b < a + life and at < bt + height and bt < at + size
        for k, (a, life, size, at) in enumerate(rows)
        for b, other, height, bt in rows[:k]
    )
    if collide:
        with pytest.raises(PackingError, match="collide"):
            Problem(tuple(buffers))
    else:
        Problem(tuple(buffers))


def test_capacities_are_changed_where_they_are():
    assert Problem((A,)).with_capacity(8).capacity == 8
    with pytest.raises(PackingError, match="pools"):
        Problem((A,), pools=(Pool("p"),)).with_capacity(8)
    assert Problem((Buffer("a", 0, 3, 4, offset=4),)).without_offsets().buffers[0].offset is None
