"""The file of a record: JSON text with a version, and a reader that refuses what it does not know.

The dataclasses of `record` say what the file holds: fields by their names, tuples as lists, None as null.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from typing import Any, NoReturn

from memline.errors import ReportError
from memline.report.record import KINDS, VERSION, Band, Buffer, Held, Layout, Program, Record

MARK = "memline_report"
"""The field that says what the file is, and in which version."""


def to_json(record: Record) -> str:
    """Returns a record as JSON text, versioned; `from_json` reads it back equal."""
    return json.dumps({MARK: VERSION, **_plain(record)}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_json(text: str | bytes) -> Record:
    """Returns the record that `to_json` wrote.

    Raises:
      ReportError: the text is not JSON, or not a report's, or one of a newer memline; or a field is missing, unknown,
        of another type or out of its range. The message says which.

    >>> from_json('{"memline_report": 2}')
    Traceback (most recent call last):
        ...
    memline.errors.ReportError: a report of a newer memline (version 2); this one reads version 1. Update memline, or \
make the report again with this one.
    more: docs/errors/report.md
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_twins)
    except (ValueError, TypeError, RecursionError) as error:
        raise ReportError(f"not a report: {error or type(error).__name__}") from error
    if not isinstance(data, dict) or MARK not in data:
        raise ReportError(f"not a report: it has no field {MARK!r}")
    version = data.pop(MARK)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ReportError(f"{MARK} is the number of a version, not {version!r}")
    if version > VERSION:
        raise ReportError(
            f"a report of a newer memline (version {version}); this one reads version {VERSION}. "
            "Update memline, or make the report again with this one."
        )
    record = _value_from(data, Record, "the report")
    for number, program in enumerate(record.programs):
        _check_program(program, f"programs[{number}]")
    return record


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


@functools.cache
def field_types(kind: type[Any]) -> dict[str, Any]:
    """Returns the types of a dataclass's fields, by name."""
    return typing.get_type_hints(kind)


def optional(kind: Any) -> Any:
    """Returns X for the type `X | None`, and None for a type that does not allow None."""
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) else ()
    return next((m for m in members if m is not types.NoneType), None)


def _value_from(data: Any, kind: Any, where: str) -> Any:
    inner = optional(kind)
    if inner is not None:
        return None if data is None else _value_from(data, inner, where)
    if dataclasses.is_dataclass(kind):
        return _fields_from(data, typing.cast("type[Any]", kind), where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(data, list):
            raise ReportError(f"{where} is a list, not {_shown(data)}")
        each = typing.get_args(kind)[0]
        return tuple(_value_from(item, each, f"{where}[{number}]") for number, item in enumerate(data))
    return _SCALARS[kind](data, where)


def _fields_from(data: Any, kind: type[Any], where: str) -> Any:
    if not isinstance(data, dict):
        raise ReportError(f"{where} is an object with fields, not {_shown(data)}")
    expected = field_types(kind)
    if data.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - data.keys()), sorted(data.keys() - expected.keys())
        told = [f"no {', '.join(missing)}"] if missing else []
        told += [f"the unknown {', '.join(map(_shown, unknown))}"] if unknown else []
        raise ReportError(f"{where} has {' and '.join(told)}: is it of another memline?")
    path = "" if kind is Record else f"{where}."
    return kind(**{name: _value_from(data[name], each, path + name) for name, each in expected.items()})


def _text(data: Any, where: str) -> str:
    if not isinstance(data, str):
        raise ReportError(f"{where} is text, not {_shown(data)}")
    return data


def _flag(data: Any, where: str) -> bool:
    if not isinstance(data, bool):
        raise ReportError(f"{where} is true or false, not {_shown(data)}")
    return data


def _whole(data: Any, where: str) -> int:
    # A move may save less than nothing: it makes room for one that saves more.
    is_number = isinstance(data, int) and not isinstance(data, bool)
    if not is_number or (data < 0 and not where.endswith(".saved_bytes")):
        raise ReportError(f"{where} is a whole number from 0, not {_shown(data)}")
    return data


def _number(data: Any, where: str) -> float:
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    if not is_number or not 0 <= data < math.inf:
        raise ReportError(f"{where} is a number from 0, not {_shown(data)}")
    return float(data)


_SCALARS = {str: _text, bool: _flag, int: _whole, float: _number}


def _check_program(program: Program, where: str) -> None:
    """Raises where numbers lead out of what they number."""
    steps = len(program.steps)
    if program.peak >= max(steps, 1):
        _refuse(f"{where}.peak", f"is a number of its {steps} steps", program.peak)
    _check_spans(program.values, steps, f"{where}.values")
    _check_spans(program.bands, steps, f"{where}.bands")
    for number, held in enumerate(program.values):
        if held.kind not in KINDS:
            _refuse(f"{where}.values[{number}].kind", f"is one of {', '.join(KINDS)}", held.kind)
    for number, index in enumerate(program.at_peak):
        if index >= len(program.values):
            _refuse(f"{where}.at_peak[{number}]", f"is a number of its {len(program.values)} values", index)
        held = program.values[index]
        if not held.first <= program.peak <= held.last:
            _refuse(f"{where}.at_peak[{number}]", f"is alive at step {program.peak}, the peak", index)
    if program.layout is not None:
        _check_layout(program.layout, f"{where}.layout")


def _check_layout(layout: Layout, where: str) -> None:
    _check_spans(layout.buffers, layout.moments, f"{where}.buffers")
    for number, buffer in enumerate(layout.buffers):
        ends = (
            (buffer.offset, layout.temp_bytes, "offset"),
            (buffer.packed_offset, layout.packed_bytes, "packed_offset"),
        )
        for offset, total, name in ends:
            if offset is not None and (total is None or offset + buffer.size_bytes > total):
                _refuse(f"{where}.buffers[{number}].{name}", f"ends within the {total} bytes of its arena", offset)


def _check_spans(spans: tuple[Held | Band | Buffer, ...], length: int, where: str) -> None:
    for number, span in enumerate(spans):
        if not span.first <= span.last < length:
            told = f"{span.first} to {span.last}"
            raise ReportError(f"{where}[{number}] goes from first to last inside of {length} steps, not {told}")


def _refuse(where: str, rule: str, found: Any) -> NoReturn:
    raise ReportError(f"{where} {rule}, not {_shown(found)}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twin = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise ValueError(f"the field {twin!r} is given twice")
    return fields


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 40 else text[:37] + "..."
