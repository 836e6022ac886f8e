"""Prints what becomes of each primitive: `python -m memline.rules`."""

from memline.rules.coverage import coverage_text

if __name__ == "__main__":
    print(coverage_text())
