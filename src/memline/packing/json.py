"""The versioned JSON of packing problems: everything that a problem may have, and a packing of it where there is one.

    {"memline_packing": 1,
     "capacity": 1048576,
     "pools": [{"name": "fast", "capacity": 65536}],
     "buffers": [
      {"id": "a", "lower": 0, "upper": 3, "size": 4, "alignment": 4, "offset": 0, "hint": 0,
       "gaps": [{"lower": 1, "upper": 2, "window": [0, 2]}], "pools": ["fast"], "reuses": ["b"]}
     ],
     "packing": {"offsets": [0], "pools": ["fast"]}}

Fields with no more than their default are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from json import decoder, scanner
from typing import Any, TypeVar

from memline.errors import PackingError
from memline.packing.answer import Packing
from memline.packing.lines import at
from memline.packing.problem import Buffer, Gap, Pool, Problem, first_fault_of

VERSION = 1
FIELD = "memline_packing"
_R = TypeVar("_R", Buffer, Gap, Pool)


def read_json(data: bytes, name: str = "input") -> tuple[Problem, Packing | None]:
    """Returns the problem that JSON text holds, and the packing of it, if it holds one.

    Args:
      data: the text, UTF-8.
      name: what errors call it.

    Raises:
      PackingError: with the name, and the line where it can be told: the text is not JSON, or of another version, or a
        field is missing, unknown or not what it should be, or the buffers make no problem.

    >>> text = b'{"memline_packing": 1, "buffers": [{"id": "a", "lower": 0, "upper": 3, "size": 4}]}'
    >>> read_json(text)[0].peak_load
    4
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise at(name, data.count(b"\n", 0, error.start) + 1, f"not UTF-8 text ({error.reason})") from None
    try:
        record = json.loads(text, object_pairs_hook=_no_twice, parse_constant=_no_constant, parse_float=_no_float)
    except json.JSONDecodeError as error:
        raise at(name, error.lineno, f"not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nesting without end
        raise at(name, 1, f"not a packing problem: {error}") from None
    if not isinstance(record, dict) or record.get(FIELD) != VERSION or isinstance(record[FIELD], bool):
        raise at(name, 1, f"not a packing problem of version {VERSION}: its field {FIELD!r} has to be {VERSION}")
    return _problem(record, name, text)


def write_json(problem: Problem, packing: Packing | None = None) -> str:
    """Returns a problem as JSON text, one buffer a line, with a packing where one is given.

    >>> print(write_json(Problem([Buffer("a", 0, 3, 4)], capacity=8)))
    {"memline_packing": 1,
     "capacity": 8,
     "buffers": [
      {"id": "a", "lower": 0, "upper": 3, "size": 4}
     ]}
    """
    parts = [f'"{FIELD}": {VERSION}']
    if problem.capacity is not None:
        parts.append(f'"capacity": {problem.capacity}')
    if problem.pools:
        parts.append(f'"pools": {json.dumps([_data(pool) for pool in problem.pools])}')
    rows = ",\n".join(f"  {json.dumps(_data(buffer))}" for buffer in problem.buffers)
    parts.append(f'"buffers": [\n{rows}\n ]')
    if packing is not None:
        placed = {"offsets": packing.offsets} | ({"pools": packing.pools} if packing.pools else {})
        parts.append(f'"packing": {json.dumps(placed)}')
    return "{" + ",\n ".join(parts) + "}"


def _problem(record: dict[str, Any], name: str, text: str) -> tuple[Problem, Packing | None]:
    unknown = record.keys() - {FIELD, "capacity", "pools", "buffers", "packing"}
    if unknown:
        raise at(name, 1, f"no such field: {sorted(unknown)[0]!r}")
    rows = record.get("buffers")
    if not isinstance(rows, list):
        raise at(name, 1, "the field 'buffers' has to be a list")
    buffers: list[Buffer] = []
    try:
        for row in rows:
            buffers.append(_buffer(row))
    except PackingError as error:
        raise at(name, _line_of(text, len(buffers)), str(error)) from None
    try:
        pools = tuple(_record(Pool, row) for row in _list(record.get("pools", [])))
        fault = first_fault_of(buffers, record.get("capacity"), pools)
        if fault is not None:
            raise at(name, 1 if fault.index is None else _line_of(text, fault.index), fault.message)
        problem = Problem(tuple(buffers), record.get("capacity"), pools)
        return problem, _packing(record.get("packing"), problem)
    except PackingError as error:
        raise error if str(error).startswith(f"{name}:") else at(name, 1, str(error)) from None


def _buffer(row: Any) -> Buffer:
    if isinstance(row, dict):
        row = dict(row)
        for key in ("pools", "reuses"):
            if key in row and not all(isinstance(text, str) for text in _list(row[key])):
                raise PackingError(f"{key} is a list of names, not {str(row[key])[:40]}")
        if "gaps" in row:
            row["gaps"] = tuple(_gap(gap) for gap in _list(row["gaps"]))
    return _record(Buffer, row)


def _gap(row: Any) -> Gap:
    if isinstance(row, dict) and row.get("window") is not None:
        row = row | {"window": tuple(_list(row["window"]))}
    return _record(Gap, row)


def _record(kind: Callable[..., _R], row: Any) -> _R:
    kinds = {f.name: f for f in fields(kind)}  # pyright: ignore[reportArgumentType]
    if not isinstance(row, dict):
        raise PackingError(f"an object with the fields {', '.join(kinds)} is wanted, not {str(row)[:40]}")
    for key in row:
        if key not in kinds:
            raise PackingError(f"no such field: {key[:40]!r}; there are {', '.join(kinds)}")
    try:
        return kind(**row)
    except TypeError as error:  # a field is missing; the message names it
        raise PackingError(str(error).partition(" ")[2]) from None


def _packing(data: Any, problem: Problem) -> Packing | None:
    if data is None:
        return None
    if not isinstance(data, dict) or not data.keys() <= {"offsets", "pools"}:
        raise PackingError("a packing has the fields offsets and pools")
    offsets, pools = _list(data.get("offsets")), _list(data.get("pools", []))
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in offsets) or len(offsets) != len(problem.buffers):
        raise PackingError(f"a packing's offsets are {len(problem.buffers)} whole numbers, one a buffer")
    names = {pool.name for pool in problem.pools}
    if len(pools) != (len(offsets) if names else 0) or not all(isinstance(n, str) and n in names for n in pools):
        raise PackingError("a packing's pools are names of the problem's pools, one a buffer")
    return Packing(tuple(offsets), tuple(pools))


def _data(record: Buffer | Gap | Pool) -> dict[str, Any]:
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if value == field.default:
            continue
        found[field.name] = [_data(gap) for gap in value] if field.name == "gaps" else value
    return found


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise PackingError(f"a list is wanted, not {str(value)[:40]}")
    return value


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"the field {twice[:40]!r} is there twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of a packing problem")


def _no_float(text: str) -> Any:
    raise ValueError(f"{text[:40]} is no whole number")


def _line_of(text: str, index: int) -> int:
    """Returns the line at which a buffer begins. The text is read a second time, slowly, noting where objects begin."""
    begins: dict[int, int] = {}
    reader: Any = json.JSONDecoder()
    parse = vars(decoder)["JSONObject"]

    def parse_object(where: tuple[str, int], *rest: Any) -> Any:
        found, end = parse(where, *rest)
        begins[id(found)] = where[1] - 1
        return found, end

    reader.parse_object = parse_object
    reader.scan_once = vars(scanner)["py_make_scanner"](reader)
    row = reader.decode(text)["buffers"][index]
    return text.count("\n", 0, begins.get(id(row), 0)) + 1
