"""The benchmark programs, by name, in the order of the table.

Each is written as an ordinary user of JAX would write it: nothing is chunked or checkpointed by
hand.
"""

import importlib

from benchmarks.programs.attention import ATTENTION
from benchmarks.programs.batch_norm import BATCH_NORM
from benchmarks.programs.conv_net import CONV_NET
from benchmarks.programs.gaussian import GAUSSIAN_GRADIENT, GAUSSIAN_VALUE
from benchmarks.programs.knn import KNN, KNN_DATABASE
from benchmarks.programs.lm_head import LM_HEAD
from benchmarks.programs.long_scans import RECURRENCE, STENCIL
from benchmarks.programs.mlp import MLP
from benchmarks.programs.program import Program, argument_bytes
from benchmarks.programs.sgpr import SGPR
from benchmarks.programs.sinkhorn import SINKHORN

PROGRAMS: dict[str, Program] = {
    program.name: program
    for program in (
        KNN,
        KNN_DATABASE,
        GAUSSIAN_VALUE,
        GAUSSIAN_GRADIENT,
        SGPR,
        ATTENTION,
        MLP,
        LM_HEAD,
        SINKHORN,
        CONV_NET,
        BATCH_NORM,
        RECURRENCE,
        STENCIL,
    )
}


def find(reference: str) -> Program:
    """The program of that name, or the one that `module:attribute` names."""
    if ":" not in reference:
        return PROGRAMS[reference]
    module, attribute = reference.split(":")
    return getattr(importlib.import_module(module), attribute)


__all__ = ["PROGRAMS", "Program", "argument_bytes", "find"]
