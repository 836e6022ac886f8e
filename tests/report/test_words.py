"""What a page says of a record, sentence by sentence."""

from dataclasses import replace

import pytest

from memline.report.record import Layout, Program, Record
from memline.report.words import aggregation, fragmentation, layout_aggregation, verdict
from tests.report.records import ORIGIN, long_record

MIB = 2**20
LAYOUT = Layout(100 * MIB, 90 * MIB, None, False, 10, ())


@pytest.fixture(scope="module")
def program() -> Program:
    return replace(long_record(20).programs[0], planned_peak_bytes=50 * MIB, compiled_peak_bytes=60 * MIB)


def record(limit_bytes: int | None, *programs: Program) -> Record:
    return Record("f", None, ORIGIN, limit_bytes, None, None, (), (), (), programs)


class TestVerdict:
    def test_it_fits(self, program: Program):
        said = "It fits: the compiled peak of 60.00 MiB is 4.00 MiB (6%) under the limit of 64.00 MiB."
        assert verdict(record(64 * MIB, program)) == said

    def test_it_does_not_fit(self, program: Program):
        said = "It does not fit: the compiled peak of 60.00 MiB is 30.00 MiB over the limit of 30.00 MiB, "
        assert verdict(record(30 * MIB, program)) == said + "2.0 times the limit."

    def test_it_fits_exactly(self, program: Program):
        assert "is exactly the limit of 60.00 MiB" in verdict(record(60 * MIB, program))

    def test_by_a_byte_is_told_in_bytes(self, program: Program):
        assert "It does not fit" in verdict(record(60 * MIB - 1, program))
        assert "is 1 B over the limit" in verdict(record(60 * MIB - 1, program))
        assert "is 1 B (under 1%) under the limit" in verdict(record(60 * MIB + 1, program))

    def test_the_model_speaks_where_nothing_was_compiled(self, program: Program):
        said = verdict(record(64 * MIB, replace(program, compiled_peak_bytes=None)))
        assert "the planned peak of 50.00 MiB is 14.00 MiB" in said

    def test_the_last_program_decides_and_the_first_is_told_beside_it(self, program: Program):
        said = verdict(record(64 * MIB, replace(program, compiled_peak_bytes=640 * MIB), program))
        assert said.startswith("It fits")
        assert said.endswith("As written it takes 640.00 MiB, 10.0 times the limit.")

    def test_a_measured_peak_over_the_limit_is_told(self, program: Program):
        said = verdict(record(64 * MIB, replace(program, measured_peak_bytes=70 * MIB)))
        assert said.endswith("Measured in a fresh process, it took 70.00 MiB, 6.00 MiB over the limit.")

    def test_no_limit(self, program: Program):
        assert verdict(record(None, program)) == "No limit was asked for. The compiled peak is 60.00 MiB."


class TestFragmentation:
    def test_what_is_lost(self):
        assert fragmentation(LAYOUT) == (
            "XLA takes 100.00 MiB for temporaries, of which at most 90.00 MiB are alive at once: "
            "10.00 MiB (10%) are lost to fragmentation."
        )

    def test_nothing_is_lost(self):
        assert "nothing is lost to fragmentation." in fragmentation(replace(LAYOUT, load_bytes=100 * MIB))
        assert "there is nothing to place" in fragmentation(replace(LAYOUT, temp_bytes=0, load_bytes=0))

    @pytest.mark.parametrize(
        ("packed_bytes", "is_proved", "said"),
        [
            (90 * MIB, True, "The exact packing takes 90.00 MiB, 10.00 MiB less than XLA; no packing takes less."),
            (100 * MIB, False, "100.00 MiB, as much as XLA; whether a packing takes less is not known."),
            (110 * MIB, False, "10.00 MiB more than XLA"),
        ],
    )
    def test_what_packing_wins(self, packed_bytes: int, is_proved: bool, said: str):
        assert said in fragmentation(replace(LAYOUT, packed_bytes=packed_bytes, is_proved=is_proved))


class TestAggregation:
    def test_a_program_told_in_full_needs_no_words(self, program: Program):
        assert aggregation(program) == ""
        assert layout_aggregation(LAYOUT) == ""

    def test_what_is_not_told_is_counted(self, program: Program):
        steps = tuple(replace(step, covers=3) for step in program.steps)
        said = aggregation(replace(program, steps=steps, omitted=7, omitted_bytes=MIB))
        assert "60 nodes are drawn as 20 steps, each of up to 3 nodes" in said
        assert "The 7 smallest values, 1.00 MiB when added" in said
        assert "The 2 smallest buffers, 1.00 MiB" in layout_aggregation(replace(LAYOUT, omitted=2, omitted_bytes=MIB))
