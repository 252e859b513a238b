"""The picture of a label: what stands on the face stands on it, in its place, for people and for programs."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pypdf import PdfReader

from wattbus.labels.badge import badge_text, draw_badge
from wattbus.labels.face import FaceClass, LabelFace
from wattbus.labels.picture import FORMAT, draw_label
from wattbus.pictures import colours
from wattbus.pictures.colours import Colour
from wattbus.pictures.pdf import draw_pdf
from wattbus.pictures.png import RECORD, draw_png
from wattbus.pictures.sheet import Code, Rectangle, Sheet, Text
from wattbus.pictures.svg import draw_svg

BASE = "https://models.example"
FACE = LabelFace(
    model="org/tiny",
    version="3f1c2ab",
    stage="inference",
    task="text-classification",
    profile="default@1",
    headline="0.0483",
    unit="Wh for 1,000 inferences",
    interval="95 % interval of 5 runs: 0.0441 to 0.0512",
    bounds="bounds of the tier: 0.0435 to 0.0531",
    letter="B",
    reason="the bounds reach into C",
    scale="ABCDEFG",
    span="",
    tier="measured",
    coverage="energy known of 5 of 6 attempts (83 %)",
    lines=(("hardware", "one machine, 2 cores"), ("batch", "8"), ("electricity", "FRA 2025, 44 g/kWh")),
    quality=(("accuracy", "0.911"),),
    record="label tiny@3",
    address="/energy/labels/evaluations/tiny?version=3",
    machine={"value": 0.0483},
)
NO_LETTER = replace(
    FACE, letter=None, reason="no letter on the tier modelled-generic: a guess", span="B to D"
)
UNKNOWN = replace(
    FACE, headline="not enough runs", unit="", interval="", bounds="", letter=None, reason="not enough runs",
    tier="none", quality=(), machine={},
)  # fmt: skip
GAISSA = replace(
    FACE,
    scale="ABCDE",
    classes=(
        FaceClass("emissions", "0.24 kg", "A"),
        FaceClass("size efficiency", "—", None, "needs the size of the model"),
        FaceClass("downloads", "12,345", "E"),
    ),
)


def said(sheet: Sheet) -> list[str]:
    return [item.said for item in sheet.items if isinstance(item, Text)]


def areas(sheet: Sheet) -> list[tuple[float, float, float, float, str]]:
    found = []
    for item in sheet.items:
        if isinstance(item, Text):
            left = item.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor] * item.width
            found.append((left, item.y - item.size * 0.72, left + item.width, item.y, item.said))
        elif isinstance(item, Code):
            found.append((item.x, item.y, item.x + item.size, item.y + item.size, "code"))
    return found


def colliding(sheet: Sheet) -> list[tuple[str, str]]:
    boxes = areas(sheet)
    return [
        (one[4], other[4])
        for number, one in enumerate(boxes)
        for other in boxes[:number]
        if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    ]


def outside(sheet: Sheet) -> list[str]:
    return [
        text
        for left, top, right, bottom, text in areas(sheet)
        if left < 20 or top < 20 or right > sheet.width - 20 or bottom > sheet.height - 10
    ]


@pytest.mark.parametrize("face", [FACE, NO_LETTER, UNKNOWN, GAISSA])
def test_all_of_the_face_stands_on_the_label(face: LabelFace) -> None:
    sheet = draw_label(face, BASE)

    shown = " ".join(said(sheet))
    expected = [face.headline, face.unit, face.interval, face.bounds, face.tier, face.coverage, face.model]
    expected += [text for line in (*face.lines, *face.quality) for text in line]
    expected += [one.name for one in face.classes]
    assert [text for text in expected if text not in shown] == []
    assert sheet.alt == face.in_words


def test_the_letter_is_raised_and_the_other_steps_are_there() -> None:
    sheet = draw_label(FACE)

    letters = [
        item
        for item in sheet.items
        if isinstance(item, Text) and item.said in FACE.scale and len(item.said) == 1
    ]
    assert "".join(item.said for item in letters) == "ABCDEFG"
    assert max(letters, key=lambda item: item.size).said == "B"


def test_without_a_letter_the_label_says_why_and_which_steps_the_bounds_reach() -> None:
    sheet = draw_label(NO_LETTER)

    shown = " ".join(said(sheet))
    edged = {
        item.said
        for item in sheet.items
        if isinstance(item, Text) and item.bold and item.said in set("ABCDEFG")
    }
    assert "No letter on the tier modelled-generic: a guess; the bounds reach B to D" in shown
    assert edged == {"B", "C", "D"}


def test_a_metric_without_a_value_says_why_and_has_no_letter() -> None:
    shown = said(draw_label(GAISSA))

    assert "needs the size of the model" in shown
    assert shown.count("A") == 2 and shown.count("E") == 2  # on the scale and beside its metric
    assert shown.count("D") == 1


def test_the_code_leads_to_the_record_and_there_is_none_without_an_address() -> None:
    picture = Image.open(io.BytesIO(draw_png(draw_label(FACE, BASE + "/"), 2)))

    assert [one.text for one in zxingcpp.read_barcodes(picture)] == [BASE + FACE.address]
    assert not [item for item in draw_label(FACE).items if isinstance(item, Code)]


def test_programs_read_the_record_out_of_each_file() -> None:
    sheet = draw_label(GAISSA, BASE)
    expected = json.loads(json.dumps({"format": FORMAT, **asdict(GAISSA), "address": BASE + GAISSA.address}))

    svg = ElementTree.fromstring(draw_svg(sheet)).find(".//{urn:wattbus:record}record")
    png = Image.open(io.BytesIO(draw_png(sheet)))
    png.load()
    pdf = PdfReader(io.BytesIO(draw_pdf(sheet)))
    assert svg is not None and json.loads(svg.text or "") == expected
    assert json.loads(png.text[RECORD]) == expected
    assert json.loads(pdf.attachments["record.json"][0]) == expected
    assert "Wh for 1,000 inferences" in pdf.pages[0].extract_text()


texts = st.text(max_size=70)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        LabelFace,
        model=texts, version=texts, stage=st.sampled_from(["training", "inference"]), task=texts, profile=texts,
        headline=texts, unit=texts, interval=texts, bounds=texts, letter=st.none() | st.sampled_from("ABCDE"),
        reason=texts, scale=st.just("ABCDE"), span=st.sampled_from(["", "B to D", "C"]), tier=texts, coverage=texts,
        classes=st.lists(
            st.builds(FaceClass, texts, texts, st.none() | st.sampled_from("ABCDE"), texts), max_size=9
        ).map(tuple),
        lines=st.lists(st.tuples(texts, texts), max_size=12).map(tuple),
        quality=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
        record=texts, address=texts,
        machine=st.dictionaries(texts, st.none() | st.floats() | texts, max_size=3),
    ),
    st.sampled_from(["", BASE]),
)  # fmt: skip
def test_whatever_a_face_says_nothing_lies_on_another_or_outside(face: LabelFace, base: str) -> None:
    sheet = draw_label(face, base)

    ElementTree.fromstring(draw_svg(sheet))
    ElementTree.fromstring(draw_svg(draw_badge(face, base)))
    assert outside(sheet) == []
    assert colliding(sheet) == []


def luminance(hexed: str) -> float:
    parts = [int(hexed[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(scheme: str) -> None:
    pairs: list[tuple[Colour, Colour]] = [
        (ink, ground)
        for ink in (colours.INK, colours.QUIET, colours.ACCENT, colours.WARNING)
        for ground in (colours.PAPER, colours.PANEL)
    ]
    pairs += [(colours.WHITE, one) for one in colours.STEPS]
    pairs += [(colours.ON_ACCENT, colours.ACCENT)]

    weak = [
        (ink.name, ground.name)
        for ink, ground in pairs
        if contrast(getattr(ink, scheme), getattr(ground, scheme)) < 4.5
    ]
    assert weak == []


def test_a_class_without_a_figure_of_energy_says_both() -> None:
    face = replace(GAISSA, headline="needs the energy", unit="", interval="", bounds="")

    shown = " ".join(said(draw_label(face)))
    assert "Class B of A to E" in shown and "no energy figure: needs the energy" in shown
    assert badge_text(face) == "class B · default@1"


def test_a_badge_says_figure_letter_and_tier() -> None:
    assert badge_text(FACE) == "B · 0.0483 Wh for 1,000 inferences · measured"
    assert badge_text(NO_LETTER) == "0.0483 Wh for 1,000 inferences · measured"
    assert badge_text(UNKNOWN) == "not known"


def test_a_badge_is_small_and_carries_the_record() -> None:
    sheet = draw_badge(FACE, BASE)
    root = ElementTree.fromstring(draw_svg(sheet))

    record = root.find(".//{urn:wattbus:record}record")
    assert sheet.height == 20 and sheet.width < 400
    assert root.get("aria-label") == FACE.in_words
    assert record is not None and json.loads(record.text or "")["address"] == BASE + FACE.address


def test_the_ground_is_as_large_as_the_label() -> None:
    sheet = draw_label(GAISSA)

    ground = sheet.items[0]
    assert isinstance(ground, Rectangle)
    assert (ground.width, ground.height) == (sheet.width - 1.5, sheet.height - 1.5)
