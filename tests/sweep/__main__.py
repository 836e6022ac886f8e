"""`python -m tests.sweep`: every public function of JAX's array modules under a limit it does not fit."""

from __future__ import annotations

import argparse
import sys

from tests.sweep.report import ANY, sweep
from tests.sweep.rules import sweep_rules
from tests.sweep.splits import sweep_splits


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="0: every way to call; others: one way, varied")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names of functions, such as 'numpy.linalg.*'")
    parser.add_argument("--turn", help="one program of each call instead of all: another for each number, or 'any'")
    parser.add_argument("--part", default="0/1", metavar="K/N", help="the K-th of N equal parts, from 0")
    parser.add_argument("--rules", action="store_true", help="cut the ops of the calls, instead of running programs")
    parser.add_argument("--splits", action="store_true", help="split programs in drawn ways, instead of planning them")
    given = parser.parse_args()
    k, n = map(int, given.part.split("/"))
    if given.rules:
        return min(sweep_rules(given.seed, given.only, (k, n)), 1)
    if given.splits:
        return min(sweep_splits(given.seed, given.only, (k, n)), 1)
    turn = ANY if given.turn == "any" else given.turn and int(given.turn)
    return min(sweep(given.seed, given.only, turn, (k, n)), 1)


if __name__ == "__main__":
    sys.exit(main())
