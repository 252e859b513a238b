"""A signed report shows every change, of whoever, and nothing but changes."""

from __future__ import annotations

import copy
import json
import stat
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boamps_samples import report_input
from wattbus.errors import BadRequest, BadSettings, Refused
from wattbus.export.boamps import build_report
from wattbus.export.boamps_model import validate
from wattbus.export.canonical import canonical_json
from wattbus.export.organisation import Organisation
from wattbus.export.signing import SIGNATURE, SigningKey, Verdict, signing_key, verify
from wattbus.home import Home


def key_of(home: Home) -> SigningKey:
    key = signing_key(home)
    assert key is not None
    return key


def signed(home: Home) -> dict[str, Any]:
    return build_report(report_input(signer=key_of(home))).document


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for step, inner in steps for found in leaves(inner, (*path, step))] or [path]


def test_a_report_is_signed_and_stays_valid(home: Home) -> None:
    document = signed(home)

    assert validate(document) == []
    assert document["header"]["publisher"]["publicKey"].startswith("ssh-ed25519 AAAA")
    assert verify(document, [key_of(home).public_key]).verdict is Verdict.VALID


def test_the_key_is_made_once_and_is_its_owners_only(home: Home) -> None:
    first, second = key_of(home), key_of(home)

    assert first.public_key == second.public_key
    assert stat.S_IMODE(home.signing_key_file.stat().st_mode) == 0o600
    assert [file.name for file in home.root.iterdir() if "signing" in file.name] == ["signing.key"]
    assert b"PRIVATE" not in canonical_json(signed(home))


def test_looking_makes_no_key(home: Home) -> None:
    assert signing_key(home, make=False) is None
    assert not home.signing_key_file.exists()


def test_any_change_of_any_value_shows(home: Home) -> None:
    document, keys = signed(home), [key_of(home).public_key]
    paths = leaves(document)
    assert len(paths) > 60

    for path in paths:
        changed = copy.deepcopy(document)
        place = changed
        for step in path[:-1]:
            place = place[step]
        value = place[path[-1]]
        place[path[-1]] = value + 1 if isinstance(value, int | float) else f"{value}."
        if path[:1] == (SIGNATURE,) and path[-1] == "canonical":
            continue  # words for people: what is verified is the canonical form itself
        assert verify(changed, keys).verdict is Verdict.CHANGED, path


def test_a_value_that_is_added_or_taken_out_shows(home: Home) -> None:
    document, keys = signed(home), [key_of(home).public_key]
    more, less = copy.deepcopy(document), copy.deepcopy(document)
    more["x-note"] = "added"
    del less["quality"]

    assert verify(more, keys).verdict is Verdict.CHANGED
    assert verify(less, keys).verdict is Verdict.CHANGED


def test_another_order_and_indentation_change_nothing(home: Home) -> None:
    document = signed(home)
    turned = json.loads(json.dumps(dict(reversed(document.items())), indent=7, ensure_ascii=True))

    assert verify(turned, [key_of(home).public_key]).verdict is Verdict.VALID


def test_a_report_signed_anew_by_somebody_else_has_an_unknown_key(home: Home, tmp_path: Any) -> None:
    other = key_of(Home(tmp_path / "other"))
    document = signed(home)
    document["header"]["publisher"]["publicKey"] = other.public_key
    document["measures"][0]["powerConsumption"] = 1e-9

    found = verify(other.sign(document), [key_of(home).public_key])

    assert (found.verdict, found.public_key) == (Verdict.UNKNOWN_KEY, other.public_key)
    assert verify(other.sign(document), [f"{other.public_key} ann@acme"]).verdict is Verdict.VALID


@pytest.mark.parametrize(
    "signature", ["x", 7, [], {}, {"algorithm": "none", "value": ""}, {"algorithm": "Ed25519"}]
)
def test_a_signature_that_is_none_is_a_change(home: Home, signature: Any) -> None:
    document = {**signed(home), SIGNATURE: signature}

    assert verify(document, []).verdict is Verdict.CHANGED


def test_a_report_without_a_signature_says_so() -> None:
    assert verify(build_report(report_input()).document, []).verdict is Verdict.UNSIGNED


def test_where_the_organisation_names_a_key_of_its_own_a_report_is_not_signed_with_ours(home: Home) -> None:
    organisation = Organisation(public_key="ssh-ed25519 AAAAtheirs")
    document = build_report(report_input(signer=key_of(home), organisation=organisation)).document

    assert document["header"]["publisher"]["publicKey"] == "ssh-ed25519 AAAAtheirs"
    assert SIGNATURE not in document
    with pytest.raises(Refused, match="another public key"):
        key_of(home).sign(document)


def test_a_key_file_that_is_none_is_a_sentence(home: Home) -> None:
    home.signing_key_file.write_text("not a key")

    with pytest.raises(BadSettings, match=r"signing\.key cannot be used"):
        signing_key(home)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (1e21, "1e+21"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (333333333.3333333, "333333333.3333333"),
        (-1.5, "-1.5"),
        (100.0, "100"),
        (123456.789e3, "123456789"),
        (0.00123, "0.00123"),
        (True, "true"),
        (None, "null"),
        ('\u20ac$\u000f\nA\'B"\\"/', '"\u20ac$\\u000f\\nA\'B\\"\\\\\\"/"'),
        ({"\ufb33": 1, "\U0001f600": 2, "\r": 3, "1": 4}, '{"\\r":3,"1":4,"\U0001f600":2,"\ufb33":1}'),
    ],
)
def test_the_canonical_form_is_that_of_rfc_8785(value: Any, text: str) -> None:
    assert canonical_json(value).decode() == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_canonical_number_reads_back_as_itself(value: float) -> None:
    assert float(canonical_json(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", {1, 2}])
def test_what_json_cannot_hold_is_a_sentence(value: Any) -> None:
    with pytest.raises(BadRequest):
        canonical_json(value)


def test_two_processes_that_make_the_key_at_once_agree(home: Home) -> None:
    code = (
        "import sys; from wattbus.home import Home; from wattbus.export.signing import signing_key\n"
        "print(signing_key(Home.find(sys.argv[1])).public_key)"
    )
    command = [sys.executable, "-c", code, str(home.root)]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)
    ]

    printed = {process.communicate(timeout=60)[0].strip() for process in processes}

    assert printed == {key_of(home).public_key}
