"""The drawings of the documentation are what `flatout chess --svg docs` makes, and any exhibition can be drawn."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import flatout
from flatout._chess import Exhibition, draw_into, drawings

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", list(drawings(Exhibition())))
def test_drawn_anew_they_are_the_same(name: str) -> None:
    assert drawings(Exhibition())[name] == (DOCS / name).read_text(encoding="utf-8"), "run `flatout chess --svg docs`"


def test_they_are_small_and_shown_in_the_documentation() -> None:
    page = (DOCS / "law.md").read_text(encoding="utf-8")
    for name, drawing in drawings(Exhibition()).items():
        assert len(drawing) < 50_000
        assert f"]({name})" in page


@pytest.mark.parametrize(
    "exhibition",
    [
        Exhibition(),
        Exhibition(opponents=1, pairs=1),
        Exhibition(opponents=60, masters=30, pairs=2),
        Exhibition(move=0.0),
        Exhibition(reply=0.0),
        Exhibition(opponents=2, move=1e-6, reply=1e-3, pairs=7),
    ],
)
def test_any_exhibition_can_be_drawn(exhibition: Exhibition) -> None:
    for drawing in drawings(exhibition).values():
        root = ElementTree.fromstring(drawing)
        assert "nan" not in drawing
        width = float(root.get("width", ""))
        for box in root.iter("{http://www.w3.org/2000/svg}rect"):
            if box.get("width") != "100%":
                assert 0 <= float(box.get("x", "")) <= float(box.get("x", "")) + float(box.get("width", "")) <= width


def test_the_master_who_walks_moves_all_the_time() -> None:
    """In the second panel her row is blue from end to end, in the first a twelfth of it."""
    root = ElementTree.fromstring(drawings(Exhibition())["exhibition.svg"])
    rows = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.text == "master 1"]
    moving = []
    for row in rows:
        y = float(row.get("y", "")) - 9
        boxes = [box for box in root.iter("{http://www.w3.org/2000/svg}rect") if box.get("y") == f"{y + 1:.1f}"]
        (whole,) = (float(box.get("width", "")) for box in boxes if box.get("fill") == "#f2f2f2")
        moves = sum(float(box.get("width", "")) for box in boxes if box.get("fill") == "#2a6fbf")
        moving.append(moves / whole)
    assert moving == [pytest.approx(1 / 12, rel=0.02), pytest.approx(1.0, rel=0.02)]


def test_nothing_can_be_drawn_of_what_takes_no_time() -> None:
    with pytest.raises(flatout.PlanError, match="nothing to draw"):
        drawings(Exhibition(move=0.0, reply=0.0))


def test_they_are_written_into_a_new_folder(tmp_path: Path) -> None:
    paths = list(draw_into(str(tmp_path / "new"), Exhibition()))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["exhibition.svg", "kinds.svg", "tables.svg"]
    assert {Path(path).name for path in paths} == set(drawings(Exhibition()))
