"""The JSON Schema of a report's file, made from the dataclasses of `record`: ``python -m memline.report.schema``."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

from memline.report import record
from memline.report.codec import MARK, field_types, optional

_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
}


def schema() -> dict[str, Any]:
    """Returns the schema, of draft 2020-12.

    It says which fields there are, of which types, and from where numbers go. That numbers of steps and values lead to
    such as there are, a schema cannot say; the reader checks it.

    >>> sorted(schema()["$defs"])
    ['Band', 'Buffer', 'Held', 'Layout', 'MoveTold', 'Origin', 'Place', 'Program', 'Record', 'Step']
    """
    kinds = {
        name: kind for name, kind in vars(record).items() if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    }
    defined = {name: _object(kind) for name, kind in kinds.items()}
    whole = defined["Record"]
    whole["properties"] = {MARK: {"const": record.VERSION}, **whole["properties"]}
    whole["required"] = [MARK, *whole["required"]]
    defined["Held"]["properties"]["kind"] = {"enum": list(record.KINDS)}
    defined["MoveTold"]["properties"]["saved_bytes"] = {"type": "integer"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A report of memline, version {record.VERSION}",
        "$ref": "#/$defs/Record",
        "$defs": defined,
    }


def _object(kind: type[Any]) -> dict[str, Any]:
    types = field_types(kind)
    return {
        "type": "object",
        "properties": {name: _of(each) for name, each in types.items()},
        "required": list(types),
        "additionalProperties": False,
    }


def _of(kind: Any) -> dict[str, Any]:
    inner = optional(kind)
    if inner is not None:
        return {"anyOf": [_of(inner), {"type": "null"}]}
    if dataclasses.is_dataclass(kind):
        return {"$ref": f"#/$defs/{typing.cast('type[Any]', kind).__name__}"}
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": _of(typing.get_args(kind)[0])}
    return dict(_SCALARS[kind])


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
