"""What a bare source tree cannot run: examples that solve packing problems, where the native solver is not built."""

from memline.packing.solve import is_built

collect_ignore = [] if is_built() else ["src/memline/packing/solve.py"]
