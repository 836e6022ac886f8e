"""Which code is the user's own: what is neither in an installed package, nor in Python's library, nor in memline."""

from __future__ import annotations

import functools
import os

_LIBRARY = os.path.dirname(os.__file__)
_MEMLINE = os.path.dirname(__file__)


@functools.lru_cache(maxsize=4096)
def is_users(file: str) -> bool:
    """Tells whether a code object's file is one that the user may want to be shown.

    >>> import json, jax
    >>> is_users("train.py"), is_users(json.__file__), is_users(jax.__file__), is_users(__file__), is_users("<string>")
    (True, False, False, False, False)
    """
    is_installed = "site-packages" in file or "dist-packages" in file
    return not (is_installed or file.startswith(("<", _LIBRARY + os.sep, _MEMLINE + os.sep)))
