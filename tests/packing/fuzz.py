"""Fuzzes both readers of packing problems with atheris, for as long as libFuzzer is told; not collected as a test.

pip install atheris; python -m tests.packing.fuzz -max_total_time=600 [a folder to keep what it finds interesting]

What a reader takes has to be written and read back the same; what it does not take has to be a `PackingError`.
"""

import importlib
import io
import sys

SEEDS = (
    b"cid,lower,upper,size,alignment,hint,gaps,offset\na,0,9,4,2,6,1-2 3-5@0:2,0\r\n",
    b'cbuffer_id,end,start,size\n"b ""q""",5,2,7\n',
    b'j{"memline_packing": 1, "capacity": 64, "buffers": [{"id": "a", "lower": 0, "upper": 3, "size": 4, '
    b'"gaps": [{"lower": 1, "upper": 2, "window": [0, 2]}]}], "packing": {"offsets": [0]}}',
    b'j{"memline_packing": 1, "pools": [{"name": "p"}], "buffers": [{"id": "a", "lower": 0, "upper": 3, "size": 4, '
    b'"pools": ["p"], "reuses": ["b"], "offset": 8, "hint": 0, "alignment": 4}]}',
)


def read_back(data: bytes) -> None:
    """Reads bytes as one of the formats, which the first byte chooses; anything but a `PackingError` is a find."""
    from memline.errors import PackingError
    from memline.packing.csv import read_csv, write_csv
    from memline.packing.json import read_json, write_json

    is_json, rest = data[:1] == b"j", data[1:]
    try:
        problem, packing = read_json(rest) if is_json else (read_csv(io.BytesIO(rest)), None)
    except PackingError:
        return
    if is_json:
        again = read_json(write_json(problem, packing).encode())
    else:
        again = read_csv(io.BytesIO(write_csv(problem).encode())), None
    if again != (problem, packing):
        raise AssertionError(f"read back as {again}")


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    fuzzer = importlib.import_module("atheris")
    with fuzzer.instrument_imports(include=["memline", "json", "csv"]):
        importlib.import_module("memline.packing")
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS):
            (Path(folder) / str(number)).write_bytes(seed)
        fuzzer.Setup([*sys.argv, folder], read_back)
        fuzzer.Fuzz()
