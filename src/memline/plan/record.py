"""Versioned JSON: what every record that memline writes and reads back begins with."""

from __future__ import annotations

import json
from typing import Any

from memline.errors import PlanError


def read_record(text: str | bytes, kind: str, version: int) -> dict[str, Any]:
    """Returns the fields of a record of memline's, less the one that says what it is.

    Args:
      text: the JSON.
      kind: what it should be, such as "plan": the field `memline_plan` has its version.
      version: the version that this memline reads.

    Raises:
      PlanError: the text is not JSON, or no such record, or one of another version.

    >>> read_record('{"memline_plan": 2, "notes": []}', "plan", 2)
    {'notes': []}
    """
    field = f"memline_{kind}"
    try:
        data = json.loads(text)
    except (ValueError, TypeError) as error:
        raise PlanError(f"not a {kind}: {error}") from error
    if not isinstance(data, dict) or field not in data:
        raise PlanError(f"not a {kind}: it has no field {field!r}")
    if data.pop(field) != version:
        raise PlanError(f"a {kind} of another version; this memline reads version {version}")
    return data
