"""The solver's answers: right, checked apart, kept apart from each other, and ended when they should be."""

import os
import random
import signal
import threading
import time
from dataclasses import replace

import pytest

from benchmarks.packing.agreement import disagreement
from benchmarks.packing.problems import folder, public
from memline.errors import ArgumentError, MissingPackageError, PackingError
from memline.packing import (
    Buffer,
    Core,
    Overload,
    Packing,
    Pool,
    Problem,
    Status,
    check,
    check_answer,
    minimize,
    pack,
    solve,
)
from tests.packing.native import needs_solver

EXAMPLE = Problem(
    (
        Buffer("b1", 0, 3, 4),
        Buffer("b2", 3, 9, 4),
        Buffer("b3", 0, 9, 4),
        Buffer("b4", 9, 21, 4),
        Buffer("b5", 0, 21, 4),
    )
)


def off_by_alignment() -> Problem:
    """Two buffers whose load is six and that take seven, for their offsets are even; and one that has no part in it."""
    return Problem((Buffer("a", 0, 2, 3, 2), Buffer("b", 1, 3, 3, 2), Buffer("c", 1, 2, 0), Buffer("d", 2, 4, 1)), 6)


def hard(seed: int = 0, count: int = 260) -> Problem:
    """A problem that no search settles in seconds: a full square cut at random, and the pieces laid at even offsets."""
    draw = random.Random(seed)
    pieces = [(0, 4096, 0, 4096)]
    while len(pieces) < count:
        t0, t1, x0, x1 = pieces.pop(draw.randrange(len(pieces)))
        if draw.random() < 0.5 and t1 - t0 > 2:
            cut = draw.randint(t0 + 1, t1 - 1)
            pieces += [(t0, cut, x0, x1), (cut, t1, x0, x1)]
        elif x1 - x0 > 2:
            cut = draw.randint(x0 + 1, x1 - 1)
            pieces += [(t0, t1, x0, cut), (t0, t1, cut, x1)]
        else:
            pieces.append((t0, t1, x0, x1))
    return Problem(tuple(Buffer(str(k), p[0], p[1], p[3] - p[2], 2) for k, p in enumerate(pieces)), 4100)


@needs_solver
def test_the_three_answers():
    fits = pack(EXAMPLE.with_capacity(12))
    assert fits.status is Status.FITS
    assert check_answer(EXAMPLE.with_capacity(12), fits) == ()
    over = pack(EXAMPLE.with_capacity(11))
    assert (over.status, over.packing, over.certificate) == (Status.INFEASIBLE, None, Overload(0, 12, 11))
    late = pack(hard(), time_limit=0.05)
    assert (late.status, late.packing, late.certificate) == (Status.UNKNOWN, None, None)


@needs_solver
def test_a_core_is_irreducible_and_followed():
    problem = off_by_alignment()
    answer = pack(problem)
    assert answer.status is Status.INFEASIBLE
    assert answer.certificate == Core(("a", "b"))
    assert check_answer(problem, answer) == ()


@needs_solver
def test_it_agrees_with_trying_everything():
    wrong = [found for seed in range(400) if (found := disagreement(seed, threads=1 + seed % 2))]
    assert not wrong


@needs_solver
def test_the_smallest_arena_is_proved():
    problem = off_by_alignment()
    best = minimize(problem)
    assert best.proved
    assert best.gap == 0
    assert (best.arena, problem.peak_load) == (7, 6)
    assert check(problem.with_capacity(best.arena), best.packing) == ()
    assert pack(problem.with_capacity(best.arena - 1)).status is Status.INFEASIBLE


@needs_solver
def test_pools_hints_and_reuse():
    problem = Problem(
        (
            Buffer("a", 0, 3, 8, pools=("fast", "big")),
            Buffer("b", 0, 3, 8, pools=("fast", "big")),
            Buffer("c", 2, 5, 8, reuses=("a", "b")),
        ),
        pools=(Pool("fast", 8), Pool("big")),
    )
    best = minimize(problem)
    assert check(problem, best.packing) == ()
    assert (best.arena, best.bound) == (8, 8)
    hinted = Problem((Buffer("a", 0, 3, 4, hint=12), Buffer("b", 0, 3, 4)), 20)
    assert pack(hinted).packing == Packing((12, 0))


@needs_solver
def test_answers_are_the_same_in_every_run():
    problem = Problem(tuple(replace(buffer, alignment=1) for buffer in hard(3, 200).buffers), 4096)
    for threads in (1, 2):
        first, second = (minimize(problem, threads=threads, seed=5) for _ in range(2))
        assert first.proved
        assert (first.packing, first.arena, first.bound) == (second.packing, second.arena, second.bound)


@needs_solver
def test_a_time_limit_is_kept_and_the_interpreter_is_free_meanwhile():
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    best = minimize(hard(), time_limit=0.5)
    seconds = time.monotonic() - start
    stop.set()
    thread.join()
    assert best.stopped == "time limit"
    assert len(ticks) > 5
    assert seconds < 2  # a busy machine is given time; the benchmark measures the limit itself


@needs_solver
def test_ctrl_c_ends_the_search_with_what_it_has(ctrl_c):
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    problem = hard(1, 400)
    timer.start()
    best = minimize(problem, time_limit=20)
    timer.join()
    assert best.stopped == "interrupted"
    assert check(problem.with_capacity(best.arena), best.packing) == ()


@needs_solver
def test_an_error_of_the_listener_is_raised():
    def listener(progress):
        raise LookupError(progress.arena)

    with pytest.raises(LookupError):
        minimize(hard(), time_limit=5, progress=listener)


@needs_solver
def test_progress_and_history():
    told = []
    best = minimize(hard(2, 100), time_limit=0.3, progress=told.append)
    arenas = [progress.arena for progress in told]
    assert arenas == sorted(arenas, reverse=True)
    assert best.history[-1].arena == best.arena
    assert best.history[-1].gap == best.gap


@needs_solver
def test_what_cannot_be_asked():
    with pytest.raises(PackingError, match="without one: none"):
        minimize(Problem((), pools=(Pool("p", 4),)))
    both = tuple(Buffer(name, 0, 3, 4, pools=("p",)) for name in "ab")
    with pytest.raises(PackingError, match="however large"):
        minimize(Problem(both, pools=(Pool("p", 4), Pool("q"))))


@pytest.mark.parametrize(
    "limits",
    [{"time_limit": 0}, {"threads": 0}, {"threads": 1.5}, {"seed": -1}, {"threads": 1000}, {"memory_limit_bytes": 0}],
)
def test_limits_that_are_none(limits):
    with pytest.raises((ArgumentError, MissingPackageError)):  # the latter where there is no solver to ask
        pack(EXAMPLE.with_capacity(12), **limits)


def test_a_solver_that_is_not_built_says_how_to_build_it(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(solve.importlib, "import_module", missing)
    assert not solve.is_built()
    with pytest.raises(MissingPackageError, match="pip install"):
        pack(EXAMPLE)


@needs_solver
@pytest.mark.skipif(not folder().is_dir(), reason=f"MiniMalloc's problems are not in {folder()}: see MEMLINE_DATA")
@pytest.mark.parametrize("name", ["E", "G", "K"])
def test_public_problems_are_solved(name):
    problem = public(name)
    answer = pack(problem, time_limit=20)
    assert answer.status is Status.FITS
    assert check_answer(problem, answer) == ()


@needs_solver
@pytest.mark.parametrize("seed", range(3))
def test_a_rectangle_that_was_cut_up_is_put_together_again(seed):
    """No byte is free at any time, so that the smallest arena is the height, and greedy orders rarely find it."""
    rng = random.Random(seed)
    pieces = [(0, 64, 0, 64)]
    while len(pieces) < 40:
        begin, end, low, high = pieces.pop(rng.randrange(len(pieces)))
        if rng.random() < 0.5 and end - begin > 1:
            at = rng.randrange(begin + 1, end)
            pieces += [(begin, at, low, high), (at, end, low, high)]
        elif high - low > 1:
            at = rng.randrange(low + 1, high)
            pieces += [(begin, end, low, at), (begin, end, at, high)]
        else:
            pieces.append((begin, end, low, high))
    buffers = tuple(Buffer(f"b{k}", begin, end, high - low) for k, (begin, end, low, high) in enumerate(pieces))
    best = minimize(Problem(buffers), time_limit=20)
    assert (best.arena, best.bound) == (64, 64)
    assert check(Problem(buffers, capacity=64), best.packing) == ()
