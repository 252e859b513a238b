"""Pictures that a request names: an address fetched with care, or a file in the one upload folder.

Only JPEG, PNG and WebP, told by their content; the size in the header is checked before a pixel is read.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from wattbus.errors import BadRequest, Refused

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
MAX_NAME_LETTERS = 255
MAX_ADDRESS_LETTERS = 4096
# what Pillow raises on damaged files
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)

Fetch = Callable[[str], bytes]


@dataclass(frozen=True)
class OpenedImage:
    """A picture, decoded: RGB, turned as its EXIF says; what it was, and what the answer should mention."""

    image: Image
    format: str  # jpeg, png or webp
    bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSource:
    """Where the pictures of requests may come from: the upload folder, and a guarded way to fetch."""

    uploads: Path
    fetch: Fetch

    def open(self, source: str) -> OpenedImage:
        """Open the picture that ``source`` names; see ``open_image``."""
        return open_image(source, uploads=self.uploads, fetch=self.fetch)


def open_image(source: str, *, uploads: Path, fetch: Fetch) -> OpenedImage:
    """Open an http(s) address through ``fetch``, or a file of ``uploads`` by its name.

    A path (/irisdev/app/misc/cat.jpg) is looked up in ``uploads`` by its file name, and a note says so.
    Raises Refused for other places and oversized pictures, BadRequest for what is no picture.
    """
    if not isinstance(source, str) or not source.strip():
        raise BadRequest("the image has no address: give an http(s) address or the name of an uploaded file.")
    source = source.strip()
    if len(source) > MAX_ADDRESS_LETTERS:
        raise Refused(f"the image address has {len(source)} characters, and may have {MAX_ADDRESS_LETTERS}.")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)", source)
    if scheme is None:
        data, notes = _read_upload(source, uploads)
        return decode(data, source, notes)
    if scheme.group().lower() not in {"http", "https"}:
        raise Refused(
            f"the image address starts with '{scheme.group()[:20]}:', which is not allowed: give an http or "
            "https address, or the name of a file in the upload folder."
        )
    data = fetch(source)
    return decode(data, urlsplit(source).path.rpartition("/")[2] or source, ())


def decode(data: bytes, name: str, notes: tuple[str, ...] = ()) -> OpenedImage:
    """Decode the bytes of a JPEG, PNG or WebP picture to RGB; an animation gives its first frame.

    Raises BadRequest for what is no whole picture, Refused above MAX_BYTES or MAX_PIXELS.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    shown = _shown(name)
    if len(data) > MAX_BYTES:
        raise Refused(f"the image {shown} has {len(data)} bytes, and may have {MAX_BYTES}.")
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height, kind = opened.width, opened.height, str(opened.format)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(f"the image {shown} is too large: it may have {MAX_PIXELS} pixels.") from None
    except (UnidentifiedImageError, *BROKEN):
        raise BadRequest(f"{shown} is not an image: it must be a JPEG, PNG or WebP file.") from None
    with opened:
        if width * height > MAX_PIXELS:
            raise Refused(
                f"the image {shown} is {width} x {height} pixels, and may have {MAX_PIXELS} in all."
            )
        try:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            image = _to_rgb(upright)
        except BROKEN:
            raise BadRequest(f"the image {shown} is damaged or cut short: send it again, whole.") from None
        if getattr(opened, "n_frames", 1) > 1:
            notes = (*notes, f"{shown} is an animation: its first frame was read.")
    return OpenedImage(image, kind.lower(), len(data), notes)


def _to_rgb(image: Image) -> Image:
    from PIL import Image as images

    if image.mode == "RGB":
        return image
    if "A" in image.getbands() or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = images.new("RGBA", clear.size, "white")
        return images.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")


def _read_upload(source: str, uploads: Path) -> tuple[bytes, tuple[str, ...]]:
    """Read one plain file of the upload folder; never through a link, never outside."""
    name, notes = _upload_name(source)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(uploads.resolve() / name, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(f"{_shown(name)} in the upload folder is a link: links are not followed.") from None
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise BadRequest(
                f"there is no image {_shown(name)} in the upload folder: put the file there ({uploads}), "
                "or give an http(s) address."
            ) from None
        raise BadRequest(f"the image {_shown(name)} cannot be read ({error.strerror}).") from None
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        data = _read_all(descriptor) if plain else b""
    finally:
        os.close(descriptor)
    if not plain:
        raise Refused(f"{_shown(name)} in the upload folder is not a plain file.")
    if len(data) > MAX_BYTES:
        raise Refused(f"the image {_shown(name)} is larger than {MAX_BYTES} bytes.")
    return data, notes


def _read_all(descriptor: int) -> bytes:
    """Read up to one byte over the limit."""
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(MAX_BYTES + 1)


def _upload_name(source: str) -> tuple[str, tuple[str, ...]]:
    parts = re.split(r"[/\\]", source)
    if any(unquote(unquote(part)).strip() == ".." for part in parts) or not source.isprintable():
        raise Refused(f"the image name {_shown(source)} is not allowed: name a file of the upload folder.")
    name = parts[-1]
    if not name or name.startswith(".") or len(os.fsencode(name)) > MAX_NAME_LETTERS:
        raise Refused(f"the image name {_shown(source)} is not allowed: name a file of the upload folder.")
    if len(parts) == 1:
        return name, ()
    return name, (f"the path {_shown(source)} was looked up by its file name in the upload folder.",)


def _shown(name: str) -> str:
    shown = repr(name)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."
