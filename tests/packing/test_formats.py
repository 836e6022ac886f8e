"""Files: what is written is read back, MiniMalloc's columns mean what they mean there, and errors name the line."""

import contextlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memline.errors import PackingError
from memline.packing import Buffer, Gap, Packing, Pool, Problem, read, write
from memline.packing.csv import read_csv, write_csv
from memline.packing.json import read_json, write_json
from tests.packing.fuzz import SEEDS, read_back


def csv(text: str, capacity: int | None = None) -> Problem:
    return read_csv(io.BytesIO(text.encode()), "in.csv", capacity)


@st.composite
def buffers(draw, with_json_fields=False):
    found = []
    for number in range(draw(st.integers(0, 5))):
        lower = draw(st.integers(-5, 5))
        upper = lower + draw(st.integers(1, 9))
        size = draw(st.integers(0, 2**40))
        gaps = ()
        if size and draw(st.booleans()):
            begin = draw(st.integers(lower, upper - 1))
            window = draw(st.none() | st.just((0, size)))
            gaps = (Gap(begin, draw(st.integers(begin + 1, upper)), window),)
        alignment = draw(st.sampled_from([1, 64]))
        # Times of their own keep what is fixed apart.
        offset = draw(st.none() | st.integers(0, 9).map(lambda k, a=alignment: k * a))
        name = draw(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4))
        hint = draw(st.none() | st.integers(0, 9))
        pools = draw(st.sampled_from([(), ("p",)])) if with_json_fields else ()
        shift = 100 * number
        gaps = tuple(Gap(gap.lower + shift, gap.upper + shift, gap.window) for gap in gaps)
        found.append(
            Buffer(f"{name}{number}", lower + shift, upper + shift, size, alignment, offset, hint, gaps, pools)
        )
    return tuple(found)


@settings(max_examples=50, deadline=None)
@given(buffers())
def test_csv_is_read_back(rows):
    problem = Problem(rows)
    assert csv(write_csv(problem)) == problem
    if not any("\r" in row.id or "\n" in row.id for row in rows):
        assert csv(write_csv(problem).replace("\n", "\r\n")) == problem


@settings(deadline=None)
@given(buffers(with_json_fields=True), st.booleans())
def test_json_is_read_back(rows, is_packed):
    problem = Problem(rows, pools=(Pool("p", 2**50), Pool("q")))
    packing = Packing(tuple(range(len(rows))), ("q",) * len(rows)) if is_packed else None
    assert read_json(write_json(problem, packing).encode()) == (problem, packing)


def test_columns_have_other_names_and_any_order():
    expected = csv("id,lower,upper,size\na,0,3,4\nb,2,9,5\n")
    for text in (
        "buffer,begin,upper,size\na,0,3,4\nb,2,9,5\n",
        "buffer_id,start,end,size\na,0,2,4\nb,2,8,5\n",
        "size,upper,id,lower\r\n4,3,a,0\r\n5,9,b,2\r\n",
        "\ufeffid,lower,upper,size,alignment,hint,gaps,offset\na,0,3,4,,-1,,\nb,2,9,5,1,,,\n",
        "id,lower,upper,size\n\na,0,3,4\nb,2,9,5",
    ):
        assert csv(text) == expected


def test_an_inclusive_end_includes_that_of_gaps():
    problem = csv("id,lower,end,size,gaps\na,0,9,16,2-3 6-8@4:12\n")
    assert problem.buffers[0] == Buffer("a", 0, 10, 16, gaps=(Gap(2, 4), Gap(6, 9, (4, 12))))


def test_the_column_of_offsets_is_a_packing(tmp_path):
    problem = Problem((Buffer("a", 0, 3, 4), Buffer("b", 2, 9, 4)), 8)
    write(tmp_path / "out.csv", problem, Packing((4, 0)))
    found, packing = read(tmp_path / "out.csv", 8)
    assert packing == Packing((4, 0))
    assert found.without_offsets() == problem
    write(tmp_path / "out.json", problem, Packing((4, 0)))
    assert read(tmp_path / "out.json") == (problem, Packing((4, 0)))


def test_what_csv_cannot_tell_is_not_written():
    with pytest.raises(PackingError, match="JSON"):
        write_csv(Problem((Buffer("a", 0, 3, 4),), pools=(Pool("p"),)))


HEAD = "id,lower,upper,size\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "no header"),
        ("id,lower,size\na,0,4\n", 1, "upper or end"),
        ("id,lower,upper,size,colour\n", 1, "'colour'"),
        ("id,lower,upper,size,begin\n", 1, "twice"),
        (HEAD + "a,0,3\n", 2, "3 fields"),
        (HEAD + "a,0,3,4\nb,0,3,-4\n", 3, "size -4"),
        (HEAD + "a,0,3,4\r\nb,0,3,4.5\r\n", 3, "'4.5'"),
        (HEAD + "a,0,3,0x10\n", 2, "whole number"),
        (HEAD + "a,0,3,٤\n", 2, "whole number"),
        (HEAD + "a,3,3,4\n", 2, "dies after"),
        (HEAD + "a,0,3,4\na,0,3,4\n", 3, "there twice"),
        (HEAD + "a,0,3,99999999999999999999\n", 2, "64 bits"),
        (HEAD + "a,0,3,9223372036854775807\n", 2, "exceeds"),
        ("id,lower,upper,size,alignment\na,0,3,4,0\n", 2, "alignment 0"),
        ("id,lower,upper,size,gaps\na,0,3,4,1\n", 2, "a gap is written"),
        ("id,lower,upper,size,gaps\na,0,3,4,1-9\n", 2, "within its life"),
        ("id,lower,upper,size,offset\na,0,3,4,0\nb,0,3,4,2\n", 3, "collide"),
        (HEAD + "a,0,3,40\n", 2, "larger than the capacity 32"),
        (HEAD + "a,0,3,4\n\x00\n", 3, "zero byte"),
        (HEAD + 'a,0,3,4\n"b,0,3,4\n', 3, "unexpected end"),
        (HEAD + "a" * (2**20 + 1), 2, "bytes"),
    ],
)
def test_malformed_csv_names_the_line(text, line, message):
    with pytest.raises(PackingError, match=rf"^in\.csv:{line}: .*{message}"):
        csv(text, 32)


def test_a_sum_that_overflows_names_the_line():
    rows = "".join(f"{name},0,3,{10**18}\n" for name in "abc")
    with pytest.raises(PackingError, match=r"^in\.csv:3: .*exceeds"):
        csv(HEAD + rows)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{", 1, "not JSON"),
        ("[]", 1, "version 1"),
        ('{"memline_packing": 2, "buffers": []}', 1, "version 1"),
        ('{"memline_packing": 1}', 1, "'buffers'"),
        ('{"memline_packing": 1, "buffers": [], "colour": 1}', 1, "'colour'"),
        ('{"memline_packing": 1,\n"buffers": [\n{"id": "a", "lower": 0, "upper": 3}]}', 3, "size"),
        ('{"memline_packing": 1,\n"buffers": [\n{"id": "a", "lower": 0, "upper": 3, "size": -4}]}', 3, "size -4"),
        ('{"memline_packing": 1,\n"buffers": [{"id": "a", "lower": 0, "upper": 3, "size": 4.5}]}', 1, "4.5"),
        ('{"memline_packing": 1,\n"buffers": [{"id": "a", "lower": 0, "upper": 3, "size": 4, "id": "b"}]}', 1, "twice"),
        (
            '{"memline_packing": 1, "capacity": 3, "buffers": [\n\n{"id": "a", "lower": 0, "upper": 3, "size": 4}]}',
            3,
            "3",
        ),
        ('{"memline_packing": 1, "buffers": [{"id": "a", "lower": 0, "upper": 3, "size": NaN}]}', 1, "NaN"),
        ('{"memline_packing": 1, "buffers": [' + "[" * 100_000, 1, "recursion"),
        ('{"memline_packing": 1, "buffers": [], "capacity": ' + "9" * 5000 + "}", 1, "digits"),
    ],
)
def test_malformed_json_names_the_line(text, line, message):
    with pytest.raises(PackingError, match=rf"^in\.json:{line}: .*{message}"):
        read_json(text.encode(), "in.json")


def test_garbage_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "garbage.csv"
    with open(path, "wb") as file:
        file.truncate(2**30)  # a gibibyte of zeros
    with pytest.raises(PackingError, match=r"garbage\.csv:1: "):
        read(path)


@settings(deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_no_bytes_make_the_readers_fail_otherwise(data):
    for reading in (lambda: read_csv(io.BytesIO(data)), lambda: read_json(data)):
        with contextlib.suppress(PackingError):
            reading()


@pytest.mark.parametrize("data", SEEDS)
def test_what_the_fuzzer_begins_with_is_read(data):
    read_back(data)
