"""`python -m memline`: the command line without its script."""

import sys

from memline.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
