"""As much of the format of protocol buffers as it takes to say a few compile options."""

from __future__ import annotations

import json


def extra_options_proto(text: str) -> bytes:
    """Returns serialised compile options that say nothing but these extra options: what is appended is merged.

    CompileOptionsProto.executable_build_options (3) .debug_options (3) .xla_backend_extra_options (500), a map.
    """
    entries = b""
    for name, value in json.loads(text).items():
        entries += _proto_field(500, _proto_field(1, name.encode()) + _proto_field(2, value.encode()))
    return _proto_field(3, _proto_field(3, entries))


def _proto_field(number: int, data: bytes) -> bytes:
    """Returns a field of bytes as protocol buffers write it: its tag, its length, itself."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    digits = []
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])
