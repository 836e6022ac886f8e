"""What is left out of a long program, and what never is."""

from hypothesis import given, settings

from memline.report.page.shorten import Room, shortened
from memline.report.record import Program
from tests.report.records import long_record, programs

TIGHT = Room(steps=3, values=2, bands=1, buffers=2)


def most_bytes(program: Program) -> int:
    return max((step.total_bytes for step in program.steps), default=0)


@given(program=programs())
@settings(deadline=None)
def test_nothing_changes_where_there_is_room(program: Program):
    assert shortened(program, Room()) == program


@given(program=programs())
@settings(deadline=None)
def test_the_peak_stays_and_what_is_left_out_is_counted(program: Program):
    short = shortened(program, TIGHT)
    assert len(short.steps) <= TIGHT.steps
    assert len(short.values) <= TIGHT.values
    assert len(short.bands) <= TIGHT.bands
    assert most_bytes(short) == most_bytes(program)
    if program.steps:
        assert short.steps[short.peak].total_bytes == most_bytes(program)
    assert sum(step.covers for step in short.steps) == sum(step.covers for step in program.steps)
    assert short.omitted + len(short.values) == program.omitted + len(program.values)
    told_bytes = sum(v.size_bytes for v in short.values) + short.omitted_bytes
    assert told_bytes == sum(v.size_bytes for v in program.values) + program.omitted_bytes
    if program.layout and short.layout:
        assert short.layout.omitted + len(short.layout.buffers) == len(program.layout.buffers)


@given(program=programs())
@settings(deadline=None)
def test_spans_stay_inside_and_what_is_at_the_peak_is_alive_there(program: Program):
    short = shortened(program, TIGHT)
    for told in (*short.values, *short.bands):
        assert 0 <= told.first <= told.last < len(short.steps)
    for i in short.at_peak:
        assert short.values[i].first <= short.peak <= short.values[i].last


def test_the_biggest_at_the_peak_are_kept_before_bigger_ones_elsewhere():
    program = long_record(400).programs[0]
    short = shortened(program, Room(steps=100, values=20))
    assert [short.values[i].name for i in short.at_peak] == [program.values[i].name for i in program.at_peak[:20]]
    assert max(step.covers for step in short.steps) == 4
