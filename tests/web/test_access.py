"""Tokens, sessions and passes: what is kept of them, what ends them, and what is refused."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattbus.access import Access, Role, Token
from wattbus.errors import BadRequest, BadSettings, UnknownName


def access_in(folder: Path, given: str | None = None) -> Access:
    return Access(folder / "access.json", given)


def signed_in(access: Access, days: float | None = None) -> tuple[Token, str]:
    """Return a new token as it is kept, and the cookie of a session that was begun with it."""
    token = access.holder(access.create("ada", Role.OPERATOR, days))
    assert token is not None
    return token, access.sign_in(token)


def test_a_token_is_kept_by_its_hash_in_a_file_of_its_owner(tmp_path: Path) -> None:
    """S39, S47: no plain token anywhere, 0600 whatever the umask."""
    before = os.umask(0)
    try:
        plain = access_in(tmp_path / "home").create("ada", Role.ADMIN)
    finally:
        os.umask(before)

    file = tmp_path / "home" / "access.json"
    assert len(plain) >= 40
    assert plain not in file.read_text()
    assert plain.removeprefix("wbt_") not in file.read_text()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert os.listdir(file.parent) == ["access.json"]


def test_two_tokens_have_nothing_in_common(tmp_path: Path) -> None:
    access = access_in(tmp_path)

    made = {access.create("ada", Role.VIEWER) for _ in range(20)}

    assert len({plain[4:12] for plain in made}) == 20
    assert len({token.id for token in access.tokens()}) == 20


def test_a_revoked_token_is_out_at_once_in_every_process_and_so_are_its_sessions(tmp_path: Path) -> None:
    door, command = access_in(tmp_path), access_in(tmp_path)
    plain = command.create("ada", Role.OPERATOR)
    token = door.holder(plain)
    assert token is not None
    cookie = door.sign_in(token)

    before = door.session(cookie)
    command.revoke(token.id)

    assert before is not None and before.token == token
    assert door.holder(plain) is None
    assert door.session(cookie) is None


def test_an_expired_token_and_its_sessions_are_out(tmp_path: Path) -> None:
    access = access_in(tmp_path)

    plain = access.create("ada", Role.ADMIN, days=1e-9)

    assert access.holder(plain) is None
    assert access.session(access.sign_in(access.tokens()[0])) is None


def test_who_signs_out_cannot_be_followed_by_who_kept_the_cookie(tmp_path: Path) -> None:
    access = access_in(tmp_path)
    token, cookie = signed_in(access)
    other = access.sign_in(token)
    session = access.session(cookie)
    assert session is not None

    access.sign_out(session)

    assert access.session(cookie) is None
    assert access_in(tmp_path).session(cookie) is None
    assert access.session(other) is not None


def test_each_sign_in_is_a_session_of_its_own(tmp_path: Path) -> None:
    """Session fixation: no value that somebody had before becomes a session."""
    access = access_in(tmp_path)
    token, cookie = signed_in(access)

    again = access.sign_in(token)
    first, second = access.session(cookie), access.session(again)

    assert cookie != again
    assert first is not None and second is not None and first.csrf != second.csrf


def test_a_session_that_was_touched_is_none(tmp_path: Path) -> None:
    access = access_in(tmp_path)
    token, cookie = signed_in(access)
    other, _ = signed_in(access)
    token_id, until, nonce, signature = cookie.split(".")

    touched = [
        f"{other.id}.{until}.{nonce}.{signature}", f"{token_id}.{int(until) + 1}.{nonce}.{signature}",
        f"{token_id}.{until}.{nonce}x.{signature}", f"{token_id}.{until}.{nonce}.{signature[:-1]}",
        f"{token_id}.{until}.{nonce}.", f"{token_id}.{until}.{nonce}.ü{signature}", f"{token_id}..", "...", "",
        cookie * 20, f"{token_id}.{'9' * 400}.{nonce}.{signature}",
    ]  # fmt: skip

    assert [access.session(value) for value in touched] == [None] * len(touched)
    assert token.name == "ada"


@given(st.text(max_size=200))
def test_no_text_is_a_token_a_pass_or_a_session_by_chance(text: str) -> None:
    access = Access(Path(os.environ["WATTBUS_HOME"]) / "access.json")

    assert access.holder(text) is None
    assert access.holder(f"wbp_{text}") is None
    assert access.session(text) is None


def test_the_sessions_of_a_changed_wattbus_token_are_over(tmp_path: Path) -> None:
    old = access_in(tmp_path, "the old token of the owner")
    token = old.holder("the old token of the owner")
    assert token is not None
    cookie = old.sign_in(token)

    new = access_in(tmp_path, "the new token of the owner")

    assert old.session(cookie) is not None
    assert new.session(cookie) is None
    assert new.holder("the old token of the owner") is None
    assert "owner" not in (tmp_path / "access.json").read_text()


def test_a_pass_is_an_operator_for_a_minute_and_only_of_its_own_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, other = access_in(tmp_path / "a"), access_in(tmp_path / "b")
    shown = access.sign_pass()

    there = access.holder(shown)
    elsewhere = other.holder(shown)
    monkeypatch.setattr("wattbus.access.time.time", lambda: float(shown[4:].partition(".")[0]) + 1)
    later = access.holder(shown)

    assert there is not None and there.role is Role.OPERATOR
    assert elsewhere is None
    assert later is None


def test_a_deleted_file_takes_everybody_out(tmp_path: Path) -> None:
    access = access_in(tmp_path)
    plain = access.create("ada", Role.ADMIN)
    token = access.holder(plain)
    assert token is not None
    cookie = access.sign_in(token)

    (tmp_path / "access.json").unlink()

    assert access.holder(plain) is None
    assert access.session(cookie) is None
    assert access.tokens() == []


def test_a_file_that_others_can_write_is_not_believed(tmp_path: Path) -> None:
    """S46."""
    access = access_in(tmp_path)
    plain = access.create("ada", Role.ADMIN)

    (tmp_path / "access.json").chmod(0o666)

    with pytest.raises(BadSettings, match="others than its owner can write"):
        access_in(tmp_path).holder(plain)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"key": "00", "tokens": []}', '{"key": "zz", "tokens": []}', "[" * 100_000,
        json.dumps({"key": "00" * 32, "tokens": [{"id": "x", "role": "root"}]}), "x" * (2 * 1024 * 1024),
    ],
    ids=range(9),
)  # fmt: skip
def test_a_damaged_file_is_a_sentence_and_lets_nobody_in(tmp_path: Path, text: str) -> None:
    file = tmp_path / "access.json"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(BadSettings, match=r"access\.json cannot be read"):
        access_in(tmp_path).holder("x")


def test_what_is_no_name_no_life_and_no_id_is_a_sentence(tmp_path: Path) -> None:
    access = access_in(tmp_path)

    for name in ("", "  ", "x" * 65, "a\nb", "a\x1b[31m"):
        with pytest.raises(BadRequest, match="1 to 64 printable"):
            access.create(name, Role.VIEWER)
    for days in (0, -1, float("nan"), float("inf"), 1e9):
        with pytest.raises(BadRequest, match="days"):
            access.create("ada", Role.VIEWER, days)
    with pytest.raises(UnknownName, match="unknown token"):
        access.revoke("nothing")


def test_tokens_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    def make() -> None:
        for _ in range(5):
            access_in(tmp_path).create("ada", Role.VIEWER)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(access_in(tmp_path).tokens()) == 20


def test_each_role_may_what_the_ones_below_it_may() -> None:
    allowed = {(role, wanted) for role in Role for wanted in Role if role.allows(wanted)}

    assert allowed == {
        (Role.VIEWER, Role.VIEWER), (Role.OPERATOR, Role.VIEWER), (Role.OPERATOR, Role.OPERATOR),
        (Role.ADMIN, Role.VIEWER), (Role.ADMIN, Role.OPERATOR), (Role.ADMIN, Role.ADMIN),
    }  # fmt: skip
