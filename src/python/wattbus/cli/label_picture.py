"""The part of the command that draws labels: as a picture in a file, and as a badge for a README."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattbus.cli.output import JsonOption, configured, home, say, say_json
from wattbus.errors import BadRequest, UnknownName

if TYPE_CHECKING:
    from wattbus.labels.face import LabelFace

NameArgument = Annotated[str, typer.Argument(help="Name of a kept evaluation, else of a model.")]
RevisionOption = Annotated[
    str, typer.Option(help="Version of the model; by default the newest that answered.")
]
TierOption = Annotated[str, typer.Option(help="Which tier, where a model has labels of several.")]
VersionOption = Annotated[
    int | None, typer.Option(min=1, help="Version of the evaluation; by default the newest.")
]
AddressOption = Annotated[
    str,
    typer.Option(
        help="Address of the portal for the QR code; by default where wattbus runs here, if it does."
    ),
]


def picture(
    name: NameArgument,
    out: Annotated[Path, typer.Option("--out", help="The file; its end says the form: .svg, .png or .pdf.")],
    revision: RevisionOption = "",
    tier: TierOption = "",
    version: VersionOption = None,
    address: AddressOption = "",
    scale: Annotated[
        float, typer.Option(min=0.1, max=16, help="Pixels of a PNG for each unit of the label.")
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Draw a label into a file: SVG, PNG or PDF, with a QR code to its record and the record inside."""
    from wattbus.labels.picture import draw_label
    from wattbus.pictures.files import FORMS, draw

    form = out.suffix.lower().removeprefix(".")
    if form not in FORMS:
        ends = ", ".join(f".{one}" for one in FORMS)
        raise BadRequest(f"{out.name} says no form that a label is drawn in: end it in {ends}.")
    face = _face(name, revision, tier, version)
    content = draw(draw_label(face, address or _running_at()), form, scale)
    _write(out, content)
    if as_json:
        say_json({"file": str(out), "bytes": len(content), "says": face.in_words})
    else:
        say(f"{out}: {len(content):,} bytes.")


def badge(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="The SVG file; without it the picture is printed.")
    ] = None,
    revision: RevisionOption = "",
    tier: TierOption = "",
    version: VersionOption = None,
    address: AddressOption = "",
    as_json: JsonOption = False,
) -> None:
    """Draw the badge of a label for a README: figure, letter and tier."""
    from wattbus.labels.badge import badge_text, draw_badge
    from wattbus.pictures.svg import draw_svg

    if out is not None and out.suffix.lower() != ".svg":
        raise BadRequest(f"{out.name} is no name for a badge, which is an SVG: end it in .svg.")
    face = _face(name, revision, tier, version)
    drawn = draw_svg(draw_badge(face, address or _running_at()))
    if out is not None:
        _write(out, drawn.encode())
    if as_json:
        say_json({"says": badge_text(face), "svg": drawn, "file": None if out is None else str(out)})
    elif out is not None:
        say(f"{out}: in a README it stands as ![energy: {badge_text(face)}]({out.name})")
    else:
        typer.echo(drawn, nl=False)


def _face(name: str, revision: str, tier: str, version: int | None) -> LabelFace:
    """Return the face of a kept evaluation of this name, else of the model."""
    from wattbus.labels.faces import face_of
    from wattbus.labels.history import get_evaluation
    from wattbus.labels.model_face import model_face
    from wattbus.ml.models import ModelStore
    from wattbus.store.item_settings import looked_at

    config = configured()
    with looked_at(home(), config.store_url) as engine:
        if engine is not None and not (revision or tier):
            try:
                return face_of(get_evaluation(engine, name, version))
            except UnknownName:
                if version is not None:
                    raise
        models = ModelStore(home().models, hub_url=config.hub_url)
        return model_face(engine, models, name, revision=revision, tier=tier)


def _running_at() -> str:
    """Return the address of the portal that runs on this home, or nothing."""
    from wattbus.runtime import control

    if control.server_of(home()) is None:
        return ""
    return str(control.call(home(), "status").get("url") or "")


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise BadRequest(f"{file} cannot be written: {error.strerror or error}.") from None
