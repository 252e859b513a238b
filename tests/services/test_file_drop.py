"""FileDropService: what is dropped into a folder is sent once, whatever happens in between."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from iop import BusinessOperation, Message, Production

from waiting import until
from wattbus import testing
from wattbus.messages import FileRequest, FileRow
from wattbus.services import FileDropService
from wattbus.store.queries import list_events, list_messages
from wattbus.testing.production import ProductionUnderTest


@dataclass
class Order(Message):
    number: int
    text: str = ""


class Taker(BusinessOperation):
    """Takes every file."""

    def file(self, request: FileRequest) -> None:
        pass

    def row(self, request: FileRow) -> None:
        pass

    def order(self, request: Order) -> None:
        pass


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@contextmanager
def dropping(drop: Path, home: Path, **settings: Any) -> Iterator[ProductionUnderTest]:
    """Run a production that takes what is dropped; its clock is moved by hand."""
    prod = Production("Test.Drop")
    taker = prod.operation("Taker", Taker)
    feed = prod.service("Feed", FileDropService, settings={"FilePath": str(drop), **settings})
    prod.connect(feed.Output, taker)
    with testing.production(prod, home, clock=testing.FakeClock()) as bus:
        yield bus


def polls(bus: ProductionUnderTest, times: int = 1) -> None:
    """Let the service be called so many times more."""
    for _ in range(times):
        bus.clock.wait_for_sleeper("Feed")  # type: ignore[attr-defined]
        bus.advance(5)
    bus.clock.wait_for_sleeper("Feed")  # type: ignore[attr-defined]
    bus.settle()


def sent(bus: ProductionUnderTest) -> list[dict[str, Any]]:
    store = bus.production.store
    rows = [row for row in list_messages(store.engine, limit=1000) if row.source_item == "Feed"]
    return [json.loads(store.body(row.body_id) or "") for row in reversed(rows)]


def warnings(bus: ProductionUnderTest) -> list[str]:
    bus.production.store.flush()
    return [line.text for line in list_events(bus.production.store.engine, type="Warning", item="Feed")]


def test_a_dropped_file_is_sent_with_its_name_its_text_and_its_facts_and_then_removed(
    drop: Path, tmp_path: Path
) -> None:
    (drop / "a.txt").write_text("héllo")
    os.utime(drop / "a.txt", (1_700_000_000, 1_700_000_000))

    with dropping(drop, tmp_path / "home") as bus:
        polls(bus, 2)
        (body,) = sent(bus)

    assert body == {
        "name": "a.txt", "text": "héllo", "base64": None, "size": 6, "modified": "2023-11-14T22:13:20Z",
    }  # fmt: skip
    assert [path.name for path in drop.iterdir()] == [".dropped"]
    assert [path for path in (drop / ".dropped").rglob("*") if path.is_file()] == []


def test_files_are_sent_in_the_order_of_their_times_each_in_a_session_of_its_own(
    drop: Path, tmp_path: Path
) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        (drop / name).write_text(name)
        os.utime(drop / name, (1_700_000_000 - age, 1_700_000_000 - age))

    with dropping(drop, tmp_path / "home") as bus:
        polls(bus, 2)
        names = [body["name"] for body in sent(bus)]
        sessions = {row.session_id for row in list_messages(bus.production.store.engine)}

    assert names == ["old", "middle", "new"]
    assert len(sessions) == 3


def test_a_file_that_is_still_written_is_left_until_it_rests(drop: Path, tmp_path: Path) -> None:
    with dropping(drop, tmp_path / "home") as bus:
        polls(bus, 0)
        (drop / "slow.txt").write_text("one")
        polls(bus)
        (drop / "slow.txt").write_text("one two")
        polls(bus)
        assert sent(bus) == []

        polls(bus)

        assert [body["text"] for body in sent(bus)] == ["one two"]


@pytest.mark.parametrize("name", ["a.txt.part", "a.tmp", ".hidden", "a.csv~", "A.PART"])
def test_a_file_under_the_name_of_an_unfinished_one_is_left(drop: Path, tmp_path: Path, name: str) -> None:
    (drop / name).write_text("half")

    with dropping(drop, tmp_path / "home") as bus:
        polls(bus, 3)

        assert sent(bus) == []
    assert (drop / name).exists()


def test_a_file_with_a_lock_beside_it_is_left_until_the_lock_is_gone(drop: Path, tmp_path: Path) -> None:
    (drop / "a.txt").write_text("x")
    (drop / "a.txt.lock").touch()

    with dropping(drop, tmp_path / "home") as bus:
        polls(bus, 3)
        before = sent(bus)
        (drop / "a.txt.lock").unlink()
        polls(bus, 2)

        assert before == []
        assert [body["name"] for body in sent(bus)] == ["a.txt"]


def test_only_files_that_fit_a_pattern_are_taken_and_folders_never(drop: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.json", "c.txt"):
        (drop / name).write_text("x")
    (drop / "sub.csv").mkdir()

    with dropping(drop, tmp_path / "home", FileSpec="*.csv, *.json") as bus:
        polls(bus, 2)
        names = [body["name"] for body in sent(bus)]

    assert sorted(names) == ["a.csv", "b.json"]


def test_what_was_sent_is_archived_and_one_of_the_same_name_there_is_kept(drop: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"

    with dropping(drop, tmp_path / "home", ArchivePath=str(archive)) as bus:
        for text in ("first", "second"):
            (drop / "a.txt").write_text(text)
            polls(bus, 2)

    assert sorted(path.read_text() for path in archive.iterdir()) == ["first", "second"]
    assert (archive / "a.txt").read_text() == "first"


def test_the_same_file_dropped_again_is_another_file(drop: Path, tmp_path: Path) -> None:
    with dropping(drop, tmp_path / "home") as bus:
        for _ in range(2):
            (drop / "a.txt").write_text("same")
            os.utime(drop / "a.txt", (1, 1))
            polls(bus, 2)

        assert len(sent(bus)) == 2


def test_what_is_no_file_of_the_folder_is_moved_away_with_a_warning(drop: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("never")
    (drop / "link.txt").symlink_to(secret)
    os.mkfifo(drop / "pipe.txt")

    with dropping(drop, tmp_path / "home") as bus:
        polls(bus, 2)

        assert sent(bus) == []
        said = sorted(warnings(bus))
    assert "link.txt was not sent: a link" in said[0]
    assert "pipe.txt was not sent: no regular file" in said[1]
    assert str(drop / ".dropped" / "error" / "link.txt") in said[0]
    assert (drop / ".dropped" / "error" / "link.txt").is_symlink()
    assert secret.read_text() == "never"


@pytest.mark.parametrize(
    ("settings", "content", "says"),
    [
        ({"MaxFileMB": "0.001"}, b"x" * 2000, "2,000 bytes, and at most 1,048 are taken"),
        ({"Charset": "UTF-8"}, b"\xff\xfe\xfd", "no utf-8"),
        ({"Format": "json"}, b"{", "it is no JSON"),
        ({"Format": "json"}, b'[{"a": 1}, 2]', "row 2 is a int"),
        ({"Format": "json"}, b'{"a": 1}\n{"b":', "line 2 is no JSON"),
        ({"Format": "json"}, b'{"a": NaN}', "NaN is not JSON"),
        ({"Format": "json"}, b'{"a": "\\ud800"}', "no JSON"),
        ({"Format": "json"}, b"[" * 100_000, "nested too deeply"),
        ({"Format": "csv"}, b"a,b\n1\n", "line 2 has 1 values, and the header 2 names"),
        ({"Format": "csv"}, b"a,a\n1,2\n", "the same one twice"),
        ({"Format": "csv"}, b'a,b\n1,"2\n', "is no CSV"),
        ({"Format": "csv", "MessageType": f"{__name__}.Order"}, b"text\nx\n", "row 1 does not fit: .*'number'"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_sent_is_moved_away_whole_with_a_warning_that_says_why(
    drop: Path, tmp_path: Path, settings: dict[str, str], content: bytes, says: str
) -> None:
    (drop / "bad").write_bytes(content)

    with dropping(drop, tmp_path / "home", **settings) as bus:
        polls(bus, 3)

        assert sent(bus) == []
        (said,) = warnings(bus)
    assert re.search(says, said), said
    assert (drop / ".dropped" / "error" / "bad").read_bytes() == content


def test_a_bad_file_does_not_hold_up_the_others(drop: Path, tmp_path: Path) -> None:
    (drop / "bad.json").write_text("{")
    os.utime(drop / "bad.json", (1, 1))
    (drop / "good.json").write_text('{"a": 1}')

    with dropping(drop, tmp_path / "home", Format="json") as bus:
        polls(bus, 2)

        assert sent(bus) == [{"file": "good.json", "number": 1, "row": {"a": 1}}]


def test_bytes_that_are_no_text_travel_as_base64(drop: Path, tmp_path: Path) -> None:
    (drop / "picture").write_bytes(b"\x89PNG\xff")

    with dropping(drop, tmp_path / "home") as bus:
        polls(bus, 2)
        (body,) = sent(bus)

    assert (body["text"], base64.b64decode(body["base64"])) == (None, b"\x89PNG\xff")


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("json", '[{"number": 1, "text": "a"}, {"number": 2, "text": "b"}]'),
        ("json", '{"number": 1, "text": "a"}\n\n{"number": 2, "text": "b"}\n'),
        ("csv", "\ufeffnumber,text\n1,a\n2,b\n"),
    ],
)
def test_each_row_becomes_a_message_of_the_type_that_is_set(
    drop: Path, tmp_path: Path, format: str, content: str
) -> None:
    (drop / "rows").write_text(content)

    with dropping(drop, tmp_path / "home", Format=format, MessageType=f"{__name__}.Order") as bus:
        polls(bus, 2)
        bodies = sent(bus)

    assert bodies == [{"number": 1, "text": "a"}, {"number": 2, "text": "b"}]


def test_of_many_files_one_poll_takes_its_share_and_the_next_comes_at_once(
    drop: Path, tmp_path: Path
) -> None:
    for number in range(7):
        (drop / f"{number}.txt").write_text("x")

    with dropping(drop, tmp_path / "home", FilesAtOnce=3) as bus:
        polls(bus, 2)
        until(lambda: len(sent(bus)) == 7, "all files sent")

        assert sorted(body["name"] for body in sent(bus)) == [f"{number}.txt" for number in range(7)]


def test_a_name_that_is_no_text_and_one_of_the_longest_are_sent(drop: Path, tmp_path: Path) -> None:
    (drop / os.fsdecode(b"odd\xff.txt")).write_text("odd")
    (drop / ("n" * 255)).write_text("long")

    with dropping(drop, tmp_path / "home", ArchivePath=str(tmp_path / "archive")) as bus:
        polls(bus, 2)
        names = sorted(body["name"] for body in sent(bus))

    assert names == ["n" * 255, "odd\ufffd.txt"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"FilePath": ""}, "no FilePath"),
        ({"FilePath": "/no/such/folder"}, "is no folder"),
        ({"Format": "xml"}, "unknown Format 'xml'.*csv, file, json"),
        ({"Charset": "klingon"}, "Charset 'klingon' is not known"),
        ({"Charset": "Binary", "Format": "csv"}, "is text: name its character set"),
        ({"MessageType": "FileRequst"}, "did you mean 'FileRequest'"),
        ({"MessageType": "nowhere.Order"}, "cannot be imported"),
        ({"MessageType": "os.path"}, "is no Message"),
    ],
)
def test_a_wrong_setting_is_an_error_of_the_item_in_a_sentence(
    drop: Path, tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    with dropping(drop, tmp_path / "home", **settings) as bus:
        bus.wait_ready()
        (feed,) = [item for item in bus.items() if item.name == "Feed"]

    assert feed.state == "Error"
    assert re.search(says, feed.error or ""), feed.error


def test_a_service_without_a_target_says_so(drop: Path, tmp_path: Path) -> None:
    prod = Production("Test.Alone")
    prod.service("Feed", FileDropService, settings={"FilePath": str(drop)})

    with testing.production(prod, tmp_path / "home") as bus:
        bus.wait_ready()
        (feed,) = bus.items()

    assert "Feed has no target: connect its Output" in (feed.error or "")


def test_every_name_in_target_config_names_gets_the_file(drop: Path, tmp_path: Path) -> None:
    (drop / "a.txt").write_text("x")
    prod = Production("Test.Two")
    prod.operation("One", Taker)
    prod.operation("Two", Taker)
    prod.service("Feed", FileDropService, settings={"FilePath": str(drop), "TargetConfigNames": "One, Two"})

    with testing.production(prod, tmp_path / "home", clock=testing.FakeClock()) as bus:
        polls(bus, 2)
        targets = [row.target_item for row in list_messages(bus.production.store.engine)]

    assert sorted(targets) == ["One", "Two"]
