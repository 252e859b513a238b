"""The organisation file: said once, optional, and refused in a sentence when it cannot be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattbus.errors import BadSettings
from wattbus.export.organisation import Organisation, read_organisation
from wattbus.home import Home

DOCS = Path(__file__).resolve().parents[2] / "docs" / "boamps.md"


def test_without_a_file_there_is_an_empty_organisation_and_no_question(tmp_path: Path) -> None:
    assert read_organisation(Home(tmp_path), {}) == Organisation()


def test_the_file_of_the_home_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "organisation.toml").write_text('name = "Acme"\ncountry = "France"\nlatitude = 48\n')

    organisation = read_organisation(Home(tmp_path), {})

    assert (organisation.name, organisation.country, organisation.latitude) == ("Acme", "France", 48.0)


def test_the_file_of_the_documentation_is_valid_and_names_every_field(tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    (tmp_path / "organisation.toml").write_text(text.split("```toml\n")[1].split("```")[0])

    organisation = read_organisation(Home(tmp_path), {})

    assert None not in organisation.model_dump().values()


def test_json_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "organisation.json").write_text('{"licence": "CC BY 4.0"}')

    assert read_organisation(Home(tmp_path), {}).licence == "CC BY 4.0"


def test_the_variable_names_a_file_or_holds_json_and_goes_before_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / "organisation.toml").write_text('name = "home"')
    (tmp_path / "other.toml").write_text('name = "file"')
    home = Home(tmp_path)

    assert read_organisation(home, {"WATTBUS_ORGANISATION": str(tmp_path / "other.toml")}).name == "file"
    assert read_organisation(home, {"WATTBUS_ORGANISATION": '{"name": "json"}'}).name == "json"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('nmae = "Acme"', "did you mean 'name'"),
        ("name = Acme", "not TOML"),
        ("latitude = 91", "latitude = 91"),
        ("latitude = nan", "latitude = nan"),
        ('power_source = "hamsters"', "power_source = 'hamsters'"),
        ('confidentiality = "open"', "confidentiality"),
        ('country_code = "fr"', "country_code"),
        ('name = ""', "name"),
        ("name = 'x'\n" + "#" * 70_000, "over 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_with_the_place_and_the_value(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "organisation.toml").write_text(text)

    with pytest.raises(BadSettings, match=r"organisation\.toml") as refusal:
        read_organisation(Home(tmp_path), {})

    assert sentence in str(refusal.value)


def test_a_file_that_every_account_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "organisation.toml"
    path.write_text('name = "Acme"')
    path.chmod(0o666)

    with pytest.raises(BadSettings, match="chmod o-w"):
        read_organisation(Home(tmp_path), {})


def test_a_named_file_that_is_not_there_is_an_error_and_not_an_empty_organisation(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read"):
        read_organisation(Home(tmp_path), {"WATTBUS_ORGANISATION": str(tmp_path / "no.toml")})


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "organisation.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BadSettings, match="UTF-8"):
        read_organisation(Home(tmp_path), {})


@pytest.mark.parametrize("text", ["[1]", "{", '{"name": ' + "[" * 30_000])
def test_json_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "organisation.json").write_text(text)

    with pytest.raises(BadSettings, match=r"organisation\.json"):
        read_organisation(Home(tmp_path), {})
