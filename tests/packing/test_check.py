"""The checker finds what is wrong, and only that."""

import pytest

from memline.packing import (
    Answer,
    Buffer,
    Core,
    Gap,
    Overload,
    Packing,
    Pool,
    Problem,
    Status,
    check,
    check_answer,
)

A, B, C = Buffer("a", 0, 4, 4), Buffer("b", 3, 9, 4), Buffer("c", 4, 9, 4)


@pytest.mark.parametrize(
    ("buffers", "offsets", "message"),
    [
        ((A, B), (0, 3), "share bytes at time 3"),
        ((A, B), (4, 4), "share bytes"),
        ((A,), (-1,), "lies at -1"),
        ((A,), (6,), "beyond the capacity 8"),
        ((Buffer("a", 0, 4, 4, alignment=4),), (2,), "no multiple of 4"),
        ((Buffer("a", 0, 4, 4, offset=4),), (0,), "fixed at 4"),
        ((A, B), (0,), "2 buffers, but 1 offsets"),
        ((A, Buffer("b", 3, 9, 4, reuses=("a",))), (0, 1), "share bytes"),
        ((Buffer("a", 0, 4, 4, gaps=(Gap(1, 4, (3, 4)),)), B), (0, 3), "share bytes"),
    ],
)
def test_faults_are_found(buffers, offsets, message):
    (fault,) = check(Problem(buffers, 8), Packing(offsets))
    assert message in fault


@pytest.mark.parametrize(
    ("buffers", "offsets"),
    [
        ((), ()),
        ((A, B, C), (0, 4, 0)),
        ((A, Buffer("b", 3, 9, 4, reuses=("a",))), (2, 2)),
        ((Buffer("a", 0, 4, 4, gaps=(Gap(1, 4, (3, 4)),)), B), (1, 0)),
        ((Buffer("a", 0, 4, 4, gaps=(Gap(3, 4),)), B), (0, 0)),
        ((Buffer("a", 0, 4, 0), B), (0, 0)),
    ],
)
def test_what_is_right_has_no_faults(buffers, offsets):
    assert check(Problem(buffers, 8), Packing(offsets)) == ()


def test_pools_are_memories_of_their_own():
    problem = Problem((A, Buffer("b", 3, 9, 4, pools=("q",))), pools=(Pool("p", 4), Pool("q")))
    assert check(problem, Packing((0, 0), ("p", "q"))) == ()
    assert "may not lie in pool 'p'" in check(problem, Packing((4, 0), ("q", "p")))[0]
    assert "beyond" in check(problem, Packing((1, 0), ("p", "q")))[0]
    assert "names none" in check(problem, Packing((0, 0)))[0]


@pytest.mark.parametrize(
    ("certificate", "faults"),
    [
        (Overload(3, 8, 7), 0),
        (Overload(3, 9, 7), 1),
        (Overload(0, 4, 7), 1),
        (Core(("a", "b")), 0),
        (Core(("a",)), 1),
        (Core(("a", "z")), 1),
        (None, 0),
    ],
)
def test_proofs_that_nothing_fits_are_followed(certificate, faults):
    assert len(check_answer(Problem((A, B, C), 7), Answer(Status.INFEASIBLE, certificate=certificate))) == faults


def test_an_answer_without_its_packing_is_wrong():
    assert check_answer(Problem((A,), 7), Answer(Status.FITS))
