"""Pictures: every stretch of every buffer is a rectangle, and what is written into a page is text, not markup."""

from memline.packing import Buffer, Gap, Packing, Pool, Problem
from memline.packing.picture import html, png, rectangles

PROBLEM = Problem(
    (Buffer("<b>", 0, 9, 4, gaps=(Gap(3, 5, (0, 1)),)), Buffer("c", 2, 9, 4, pools=("q",))),
    pools=(Pool("p"), Pool("q")),
)
PACKING = Packing((0, 8), ("p", "q"))


def test_rectangles_are_where_the_bytes_are():
    drawn = [(r.begin, r.end, r.first, r.last) for r in rectangles(PROBLEM, PACKING, "p")]
    assert drawn == [(0, 3, 0, 4), (3, 5, 0, 1), (5, 9, 0, 4)]
    assert [(r.name, r.first) for r in rectangles(PROBLEM, PACKING, "q")] == [("c", 8)]


def test_a_page_of_two_pools():
    page = html(PROBLEM, PACKING, title="a & b")
    assert page.count("<rect") == 4
    assert page.count("<svg") == 2
    assert "&lt;b&gt;: " in page
    assert "<b>" not in page
    assert "a &amp; b" in page


def test_nothing_is_drawn_of_nothing():
    assert html(Problem(()), Packing(())).count("<rect") == 0


def test_a_png(tmp_path):
    png(PROBLEM, PACKING, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
