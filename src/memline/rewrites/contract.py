"""Rules for sums of products: contracted in a better order, summed early, broadcast late, diagonals taken first.

They share one engine: `reading.sum_of` reads the normal form off a value, `order.best_order` finds the order, and
`einsum.evaluated` writes it.
"""

from __future__ import annotations

import math

from memline.ir.graph import Graph, Op
from memline.rewrites.einsum import evaluated
from memline.rewrites.order import Better, Problem, Term, best_order, least_bytes, least_work
from memline.rewrites.reading import sum_of
from memline.rewrites.rule import REASSOCIATES, Rewriting, approximate, rule, written
from memline.rewrites.sums import SumOfProducts
from memline.rewrites.work import Work, elementwise_work

_ENDS = ("dot_general", "reduce_sum", "mul", "gather")
_LESS, _MUCH_LESS = 0.9, 0.5
"""An order is offered if its work, or its largest array in between, is at most so much of what is written."""
_SMALL_BYTES = 1 << 12
"""Arrays up to this size do not count."""
_MORE, _MUCH_MORE = 1.2, 8.0
"""For a smaller array in between the work may be so many times as much; the second where that is asked for."""


@rule("contract", REASSOCIATES, *_ENDS)
def contract(scope: Graph, node: Op) -> Rewriting | None:
    """Products and sums can be made in any order: (A B) v = A (B v); trace(A B) = sum(A * B^T); kron(A, B) v = A V B^T.

    The order with the least work is taken. It holds wherever all terms are finite; where some are not, the result is
    not finite either, but may be NaN in place of an infinity, and the other way round.
    """
    form = sum_of(scope, node)
    if form is None or form.drops_zeros:
        return None
    return _ordered(form, node, least_work)


@rule("contract_small", REASSOCIATES, *_ENDS)
def contract_small(scope: Graph, node: Op) -> Rewriting | None:
    """As `contract`, but in the order in which the largest array in between is smallest, at the price of more work."""
    form = sum_of(scope, node)
    if form is None or form.drops_zeros or len(form.factors) < 3:
        return None
    fastest, smallest = (_best(form, better) for better in (least_work, least_bytes))
    if smallest.work.largest_bytes >= fastest.work.largest_bytes:
        return None
    return _ordered(form, node, least_bytes, _MUCH_MORE)


@rule("contract_diagonal", approximate(), *_ENDS)
def contract_diagonal(scope: Graph, node: Op) -> Rewriting | None:
    """A sum over j of D[i, j] X[j] with D zero but on its diagonal is D[i, i] X[i]: diag(d) A = d[:, None] * A.

    The terms left out are zeros wherever the other factor is finite. As written, a zero times an infinity or a NaN is
    NaN, in whole rows; so this is no mere change of order, and is tagged with an error of its own, which is none on
    finite numbers.
    """
    form = sum_of(scope, node)
    if form is None or not form.drops_zeros:
        return None
    return _ordered(form, node, least_work)


def _best(form: SumOfProducts, better: Better) -> Term:
    problem = Problem(
        tuple(frozenset(factor.indices) for factor in form.factors),
        frozenset(form.out),
        form.sizes,
        form.dtype.itemsize,
    )
    return best_order(problem, better)


def _ordered(form: SumOfProducts, node: Op, better: Better, most: float = _MORE) -> Rewriting | None:
    order = _best(form, better)
    scaled = _scaled_factor(form)
    if not _is_better(order.work + _scaling(form, scaled), form.work, most):
        return None
    operands = [*(factor.value for factor in form.factors), *form.numbers, *form.divisors]
    return written(form.root, lambda *xs: evaluated(form, order, scaled, *xs), *operands, source=node.source)


def _scaled_factor(form: SumOfProducts) -> int | None:
    """Returns which factor is multiplied by the numbers: the smallest one, if it is smaller than the result."""
    volumes = [math.prod(f.value.shape) if f.value.dtype == form.dtype else math.inf for f in form.factors]
    smallest = min(range(len(volumes)), key=volumes.__getitem__)
    return smallest if volumes[smallest] < math.prod(form.root.shape) else None


def _scaling(form: SumOfProducts, scaled: int | None) -> Work:
    """Returns the work of multiplying by the numbers, which costs one more array."""
    if not (form.numbers or form.divisors or form.is_negative):
        return Work()
    v = form.root if scaled is None else form.factors[scaled].value
    return elementwise_work(math.prod(v.shape), v.size_bytes)


def _is_better(work: Work, as_written: Work, most: float) -> bool:
    if work.cost <= _LESS * as_written.cost:
        return True
    is_smaller = work.largest_bytes <= _MUCH_LESS * as_written.largest_bytes
    return is_smaller and as_written.largest_bytes > _SMALL_BYTES and work.cost <= most * as_written.cost
