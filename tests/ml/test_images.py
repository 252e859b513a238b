"""Pictures come from guarded addresses or the one upload folder, and nothing else gets in."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wattbus.errors import BadRequest, Refused, WattbusError
from wattbus.ml import images
from wattbus.ml.images import ImageSource, decode, open_image


def picture(kind: str = "JPEG", size: tuple[int, int] = (40, 30), **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, format=kind, **more)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def no_fetch(address: str) -> bytes:
    raise AssertionError(f"{address} was fetched")


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "000000039769.jpg").write_bytes(picture())
    return folder


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_decoded_to_rgb_and_its_format_is_told_by_its_content(kind: str) -> None:
    opened = decode(picture(kind), "cat.gif")

    assert opened.image.mode == "RGB"
    assert opened.image.size == (40, 30)
    assert opened.format == kind.lower()
    assert opened.bytes == len(picture(kind))


def test_an_http_address_goes_to_the_injected_fetch_as_it_stands(uploads: Path) -> None:
    asked: list[str] = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        return picture()

    address = "http://images.cocodataset.org/val2017/000000039769.jpg"
    opened = ImageSource(uploads, fetch).open(address)

    assert asked == [address]
    assert opened.image.size == (40, 30)
    assert opened.notes == ()


def test_what_the_fetch_refuses_stays_its_own_refusal(uploads: Path) -> None:
    def fetch(address: str) -> bytes:
        raise Refused("this address is private")

    with pytest.raises(Refused, match="this address is private"):
        open_image("https://127.0.0.1/x.png", uploads=uploads, fetch=fetch)


def test_a_plain_name_is_read_from_the_upload_folder(uploads: Path) -> None:
    opened = open_image("000000039769.jpg", uploads=uploads, fetch=no_fetch)

    assert opened.image.size == (40, 30)
    assert opened.notes == ()


def test_a_path_is_looked_up_by_its_file_name_and_a_note_says_so(uploads: Path) -> None:
    opened = open_image("/irisdev/app/misc/000000039769.jpg", uploads=uploads, fetch=no_fetch)

    assert opened.image.size == (40, 30)
    assert "looked up by its file name in the upload folder" in opened.notes[0]


def test_a_missing_upload_is_a_sentence_that_says_where_to_put_it(uploads: Path) -> None:
    with pytest.raises(BadRequest, match=r"no image 'dog.jpg' in the upload folder: put the file there"):
        open_image("/irisdev/app/misc/dog.jpg", uploads=uploads, fetch=no_fetch)


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://host/x.png",
        "data:image/png;base64,AAAA",
        "gopher://x",
        "jar:http://x!/y",
        "C:\\cat.png",
    ],
)
def test_other_schemes_are_refused_by_name(address: str, uploads: Path) -> None:
    with pytest.raises(Refused, match="is not allowed: give an http or https address"):
        open_image(address, uploads=uploads, fetch=no_fetch)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "a/../../secret.png",
        "..\\secret.png",
        "%2e%2e/secret.png",
        "%252e%252e/secret.png",
        "/tmp/../secret.png",
        "cat\0.png",
        "uploads/",
        ".hidden.png",
        "x" * 300 + ".png",
        "a\nb.png",
    ],
)
def test_names_that_could_leave_the_upload_folder_are_refused(name: str, uploads: Path) -> None:
    (uploads.parent / "secret.png").write_bytes(picture("PNG"))

    with pytest.raises(Refused, match="not allowed"):
        open_image(name, uploads=uploads, fetch=no_fetch)


def test_an_absolute_path_outside_never_reads_that_file(uploads: Path) -> None:
    outside = uploads.parent / "secret.png"
    outside.write_bytes(picture("PNG"))

    with pytest.raises(BadRequest, match=r"no image 'secret.png' in the upload folder"):
        open_image(str(outside), uploads=uploads, fetch=no_fetch)


def test_a_link_in_the_upload_folder_is_not_followed(uploads: Path) -> None:
    outside = uploads.parent / "secret.png"
    outside.write_bytes(picture("PNG"))
    (uploads / "link.png").symlink_to(outside)

    with pytest.raises(Refused, match="is a link"):
        open_image("link.png", uploads=uploads, fetch=no_fetch)


def test_a_pipe_or_folder_in_the_upload_folder_is_refused_at_once(uploads: Path) -> None:
    os.mkfifo(uploads / "pipe.png")
    (uploads / "folder.png").mkdir()

    for name in ("pipe.png", "folder.png"):
        with pytest.raises(WattbusError, match=r"not a plain file|cannot be read"):
            open_image(name, uploads=uploads, fetch=no_fetch)


@pytest.mark.parametrize("address", ["", "   ", "h" * 5000])
def test_an_empty_or_endless_address_is_a_sentence(address: str, uploads: Path) -> None:
    with pytest.raises(BadRequest, match="image"):
        open_image(address, uploads=uploads, fetch=no_fetch)


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 9_000), (8_000, 7_000)])
def test_an_enormous_picture_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(Refused, match="50000000"):
        decode(png_header(*size), "bomb.png")


def test_a_file_over_the_byte_limit_is_refused(monkeypatch: pytest.MonkeyPatch, uploads: Path) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100)

    with pytest.raises(Refused, match="may have 100"):
        decode(picture(), "cat.jpg")
    with pytest.raises(Refused, match="larger than 100 bytes"):
        open_image("000000039769.jpg", uploads=uploads, fetch=no_fetch)


@pytest.mark.parametrize(
    "data", [b"", b"<html>not found</html>", picture("GIF"), picture("TIFF"), picture("BMP")]
)
def test_what_is_no_jpeg_png_or_webp_is_a_sentence_without_addresses_of_objects(data: bytes) -> None:
    with pytest.raises(BadRequest, match="is not an image: it must be a JPEG, PNG or WebP") as caught:
        decode(data, "cat.jpg")

    assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_a_sentence(kind: str) -> None:
    data = picture(kind, (400, 300))

    with pytest.raises(BadRequest, match=r"damaged or cut short|is not an image"):
        decode(data[: len(data) // 2], "cat")


def test_a_picture_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees

    opened = decode(picture("JPEG", (40, 30), exif=exif), "cat.jpg")

    assert opened.image.size == (30, 40)


def test_transparency_becomes_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(buffer, format="PNG")

    opened = decode(buffer.getvalue(), "clear.png")

    assert opened.image.getpixel((0, 0)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame_and_a_note() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:], lossless=True)

    opened = decode(buffer.getvalue(), "moving.webp")

    assert opened.image.getpixel((0, 0)) == (255, 0, 0)
    assert "first frame" in opened.notes[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=20),
    keep=st.integers(1, 5000),
)
def test_damaged_pictures_decode_or_end_in_a_sentence(
    kind: str, changes: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(picture(kind, (64, 48))[:keep])
    for place, value in changes:
        data[place % len(data)] = value

    try:
        mode = decode(bytes(data), "fuzz").image.mode
    except BadRequest:
        mode = "a sentence"

    assert mode in {"RGB", "a sentence"}
