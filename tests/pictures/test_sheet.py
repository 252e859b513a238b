"""A sheet comes out as SVG, PNG and PDF: each opens, says the same, and holds its record."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pypdf import PdfReader

from wattbus.errors import BadRequest
from wattbus.pictures.colours import ACCENT, INK, PAPER, RULE
from wattbus.pictures.fonts import font
from wattbus.pictures.pdf import draw_pdf
from wattbus.pictures.png import RECORD, draw_png
from wattbus.pictures.sheet import Sheet, Sketch, plain, text_width, wrapped
from wattbus.pictures.strokes import dashes
from wattbus.pictures.svg import RECORD as RECORD_SPACE
from wattbus.pictures.svg import draw_svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>\"'&\x1b[31m\u202e]]>"
ADDRESS = "https://models.example/energy/models/org/tiny%20one?tier=modelled"


def sheet(said: str = "hello", record: dict[str, object] | None = None) -> Sheet:
    sketch = Sketch(300, 200, title=f"About {said}", alt=f"A sheet that says {said}.", record=record)
    sketch.rectangle(1, 1, 298, 198, fill=PAPER, stroke=RULE, radius=8)
    sketch.line([(10, 10), (100, 60), (190, 10)], colour=ACCENT, width=2, dash=(6, 3))
    sketch.polygon([(10, 80), (40, 80), (25, 100)], fill=ACCENT, stroke=INK)
    sketch.circle(60, 90, 12, fill=ACCENT, stroke=INK)
    sketch.text(10, 130, said, 14)
    sketch.text(290, 150, said, 20, bold=True, anchor="end", fit=200)
    sketch.code(200, 20, 80, ADDRESS)
    return sketch.sheet()


def test_an_svg_is_whole_and_says_what_it_shows() -> None:
    root = ElementTree.fromstring(draw_svg(sheet("hello", {"wh": 0.5})))

    found = root.find(f"{SVG}metadata/{{{RECORD_SPACE}}}record")
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "About hello"
    assert root.findtext(f"{SVG}desc") == root.get("aria-label") == "A sheet that says hello."
    assert found is not None and json.loads(found.text or "") == {"wh": 0.5}
    assert [one.text for one in root.iter(f"{SVG}text")] == ["hello", "hello"]


def test_text_in_an_svg_stays_text_whatever_it_says() -> None:
    drawn = draw_svg(sheet(HOSTILE, {HOSTILE: HOSTILE}))
    root = ElementTree.fromstring(drawn)

    tags = {one.tag.removeprefix(SVG) for one in root.iter()}
    record = root.find(f".//{{{RECORD_SPACE}}}record")
    assert "<script" not in drawn
    assert tags <= {"svg", "title", "desc", "metadata", f"{{{RECORD_SPACE}}}record", "style", "g", "rect",
                    "polyline", "polygon", "circle", "text", "path"}  # fmt: skip
    assert not [name for one in root.iter() for name in one.keys() if name.startswith("on") or "href" in name]
    assert next(root.iter(f"{SVG}text")).text == plain(HOSTILE)
    assert record is not None and json.loads(record.text or "") == {HOSTILE: HOSTILE}


def test_an_svg_loads_nothing_and_follows_the_scheme_of_the_screen() -> None:
    drawn = draw_svg(sheet())

    assert "prefers-color-scheme: dark" in drawn
    assert [word for word in ("url(", "@import", "<image", "<use", "<foreignObject") if word in drawn] == []


@pytest.mark.parametrize("scale", [0.5, 1, 2, 3.3])
def test_a_png_has_the_size_that_was_asked_for_with_its_text_and_its_record(scale: float) -> None:
    picture = Image.open(io.BytesIO(draw_png(sheet("Łódź €", {"wh": None, "name": "ж"}), scale)))
    picture.load()

    assert picture.size == (round(300 * scale), round(200 * scale))
    assert picture.text["Description"] == "A sheet that says Łódź €."
    assert json.loads(picture.text[RECORD]) == {"wh": None, "name": "ж"}


@pytest.mark.parametrize("scale", [0, 0.001, 1000])
def test_a_png_that_nobody_could_open_is_refused(scale: float) -> None:
    with pytest.raises(BadRequest, match="choose a scale"):
        draw_png(sheet(), scale)


def test_what_is_dark_in_a_png_is_where_the_sheet_has_it() -> None:
    sketch = Sketch(100, 60, title="t", alt="a")
    sketch.rectangle(10, 10, 20, 30, fill=INK)
    picture = Image.open(io.BytesIO(draw_png(sketch.sheet(), 2))).convert("L")

    box = picture.point(lambda value: 255 if value < 128 else 0).getbbox()
    assert box == (20, 20, 60, 80)


def test_a_pdf_has_a_page_for_each_sheet_with_text_and_records() -> None:
    made = draw_pdf([sheet("Привет Ωμέγα"), sheet("second", {"wh": 2})])

    reader = PdfReader(io.BytesIO(made))
    assert len(reader.pages) == 2
    assert "Привет Ωμέγα" in reader.pages[0].extract_text()
    assert "second" in reader.pages[1].extract_text()
    assert (float(reader.pages[0].mediabox.width), float(reader.pages[0].mediabox.height)) == (225, 150)
    assert reader.metadata is not None and reader.metadata.title == "About Привет Ωμέγα"
    assert reader.metadata.subject == "A sheet that says Привет Ωμέγα. A sheet that says second."
    assert {name: json.loads(files[0]) for name, files in reader.attachments.items()} == {
        "record-2.json": {"wh": 2}
    }


def test_a_pdf_of_nothing_is_refused() -> None:
    with pytest.raises(BadRequest, match="at least one sheet"):
        draw_pdf([])


@pytest.mark.parametrize("scale", [1, 2, 2.7])
@pytest.mark.parametrize("content", [ADDRESS, "https://a.example/" + "x" * 180, "Привет → €"])
def test_a_camera_reads_the_code(content: str, scale: float) -> None:
    sketch = Sketch(240, 240, title="t", alt="a")
    sketch.rectangle(0, 0, 240, 240, fill=INK)
    sketch.code(33.3, 33.3, 160, content)

    picture = Image.open(io.BytesIO(draw_png(sketch.sheet(), scale)))
    assert [found.text for found in zxingcpp.read_barcodes(picture)] == [content]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_drawn_by_every_back_end(said: str) -> None:
    drawn = sheet(said, {"said": said})

    ElementTree.fromstring(draw_svg(drawn))
    assert draw_png(drawn, 1).startswith(b"\x89PNG")
    assert draw_pdf(drawn).startswith(b"%PDF")


@given(st.text(), st.floats(0, 500), st.booleans())
def test_text_that_is_cut_fits_and_begins_as_it_was(said: str, width: float, bold: bool) -> None:
    letters = font(bold=bold)
    shown = letters.shortened(said, 12, width)

    assert shown == said or (shown.endswith("…") and said.startswith(shown[:-1]))
    assert letters.width(shown, 12) <= max(width, letters.width("…", 12)) + 1e-9


def test_what_was_cut_stands_in_the_title_of_the_text() -> None:
    sketch = Sketch(100, 20, title="t", alt="a")
    sketch.text(0, 10, "a name that is longer than its place", 12, fit=60)

    root = ElementTree.fromstring(draw_svg(sketch.sheet()))
    (text,) = root.iter(f"{SVG}text")
    assert (text.text or "").endswith("…")
    assert text.findtext(f"{SVG}title") == "a name that is longer than its place"


def test_the_fonts_have_latin_greek_cyrillic_money_and_arrows() -> None:
    for bold in (False, True):
        letters = font(bold=bold)
        for said in ("ÀĘłß Ωμέγα Привет їґ €£¥ →←↔↑↓ ≥≤±×−≈ ²₂ µ°‰ —–…·", "0123456789 AaZz"):
            assert letters.drawable(said) == said


def test_a_letter_that_the_fonts_lack_is_a_box_and_no_gap() -> None:
    assert font().drawable("漢字 x") == "□□ x"
    assert text_width("漢", 10) == text_width("□", 10) > 0


def test_text_is_as_wide_as_pillow_sets_it() -> None:
    from PIL import ImageFont

    for bold in (False, True):
        letters = font(bold=bold)
        pillow = ImageFont.truetype(str(letters.file), 1000, layout_engine=ImageFont.Layout.BASIC)
        for said in ("AVATAR To 1,234.5 Wh", "Привет", "→ €"):
            assert letters.width(said, 1000) == pytest.approx(pillow.getlength(said), rel=0.005)


def test_long_words_are_cut_and_lines_are_as_many_as_allowed() -> None:
    assert wrapped("x" * 100, 12, 50)[0].endswith("…")
    assert len(wrapped("word " * 50, 12, 100, most_lines=2)) == 2
    assert wrapped("", 12, 100) == []


def test_dashes_go_round_corners_and_cover_what_the_pattern_says() -> None:
    strokes = dashes([(0, 0), (5, 0), (5, 7)], (8, 2))

    assert strokes == [[(0, 0), (5.0, 0.0), (5.0, 3.0)], [(5.0, 5.0), (5.0, 7.0)]]
