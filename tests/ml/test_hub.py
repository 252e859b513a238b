"""A model arrives whole from a hub that stalls, cuts, lies and hangs up, or it does not arrive and nothing changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import smallmodels
import tinymodels
from fakehub import FakeHub
from wattbus.errors import BadRequest, ModelCorrupt, ModelError, ModelNotCached, Refused
from wattbus.ml.hub import Hub, Patience
from wattbus.ml.models import ModelStore

REPO = "org/toy"
URL = f"https://huggingface.co/{REPO}"
WEIGHTS = 1_000_000
QUICK = Patience(stall_seconds=0.5, describe_seconds=5, total_seconds=30, tries=3, pause_seconds=0.01)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return smallmodels.build(tmp_path / "original", WEIGHTS)


def store_for(
    hub: FakeHub, tmp_path: Path, patience: Patience = QUICK, token: str | None = None
) -> ModelStore:
    return ModelStore(tmp_path / "models", hub=Hub(hub.endpoint, token=token, patience=patience))


def nothing_published(tmp_path: Path) -> bool:
    folder = tmp_path / "models/toy"
    return not (folder / "current").exists() and not list(folder.glob("versions/*"))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_model_is_fetched_once_and_pinned_to_its_commit(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    commit = hub.add(REPO, model)
    store = store_for(hub, tmp_path)
    lines: list[str] = []

    first = store.ensure("toy", model_url=URL, progress=lines.append)
    asked = len(hub.requests)
    second = store.ensure("toy", model_url=URL)

    assert first.bytes_fetched == hub.bytes_served == size_of(model)
    assert (second.bytes_fetched, second.already_cached, len(hub.requests)) == (0, True, asked)
    assert (first.version.source, first.version.revision) == (f"{URL}@{commit}", commit)
    assert first.version.licence == "apache-2.0"
    assert (first.version.path / "model.safetensors").read_bytes() == (
        model / "model.safetensors"
    ).read_bytes()
    assert all(f"/resolve/{commit}/" in request.path for request in hub.requests if "resolve" in request.path)
    assert any("fetching" in line for line in lines)
    assert not (tmp_path / "models/toy/partial").exists()


def test_a_real_model_that_came_through_the_hub_loads(hub: FakeHub, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    hub.add(REPO, tinymodels.build("text-classification", tmp_path / "original"))

    got = store_for(hub, tmp_path).ensure("toy", model_url=REPO)

    loaded = AutoModelForSequenceClassification.from_pretrained(got.version.path, local_files_only=True)
    assert loaded.num_parameters() > 0


def test_a_fetched_model_needs_no_network_afterwards(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    store_for(hub, tmp_path).ensure("toy", model_url=URL)

    offline = ModelStore(tmp_path / "models", hub=Hub("http://127.0.0.1:9", offline=True))

    assert offline.ensure("toy", model_url=URL).already_cached
    assert offline.open_verified("toy").revision is not None


def test_only_what_a_model_needs_is_fetched(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    for name in (
        "pytorch_model.bin",
        "tf_model.h5",
        "modeling_evil.py",
        "model.fp16.safetensors",
        "training_args.bin",
    ):
        (model / name).write_bytes(b"\x80\x04.")
    for folder in ("onnx", "1_Pooling"):
        (model / folder).mkdir()
        (model / folder / "config.json").write_text("{}")
    hub.add(REPO, model)

    got = store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert sorted(hub.served) == [
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert sorted(path.name for path in got.version.path.iterdir()) == [
        "1_Pooling", "README.md", "config.json", "manifest.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


def test_a_model_in_shards_is_fetched_with_its_index(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    index = '{"weight_map": {"weight": "model-00001-of-00001.safetensors"}}'
    (model / "model.safetensors.index.json").write_text(index)
    hub.add(REPO, model)

    got = store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert got.bytes_fetched == size_of(model)


def test_a_repository_with_pickled_weights_only_is_refused_before_a_byte_of_it(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    hub.add(REPO, model)

    with pytest.raises(Refused, match=r"only as pytorch_model\.bin, a format that can run code"):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert hub.bytes_served == 0 and nothing_published(tmp_path)


def test_a_configuration_that_runs_code_is_refused_before_the_weights_are_fetched(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    (model / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    hub.add(REPO, model)

    with pytest.raises(Refused, match="auto_map"):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert "model.safetensors" not in hub.served and nothing_published(tmp_path)


def test_ten_threads_and_two_processes_that_want_the_same_model_download_it_once(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    hub.add(REPO, model)
    hub.slow(2_000_000)
    children = [_child(hub, tmp_path) for _ in range(2)]
    results: list[bool] = []
    lines: list[str] = []

    def ask() -> None:
        store = store_for(hub, tmp_path)
        results.append(store.ensure("toy", model_url=URL, progress=lines.append).already_cached)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    said = [child.communicate(timeout=60)[0].decode().strip() for child in children]

    assert len(results) == 10
    assert [*results, *(text == "True" for text in said)].count(False) == 1
    assert hub.bytes_served == size_of(model)


def test_who_waits_for_a_download_is_told_so(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.stall_after(400_000, times=1)
    patient = replace(QUICK, stall_seconds=3.5)
    first = threading.Thread(target=lambda: store_for(hub, tmp_path, patient).ensure("toy", model_url=URL))
    first.start()
    assert hub.stalled.wait(20)
    lines: list[str] = []

    store_for(hub, tmp_path).ensure("toy", model_url=URL, progress=lines.append)
    first.join(30)

    assert any("another one is at work on it, waiting (400," in line for line in lines)


def test_a_downloader_that_is_killed_half_way_is_followed_by_one_that_goes_on(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    hub.add(REPO, model)
    hub.stall_after(600_000, times=1)
    child = _child(hub, tmp_path, stall_seconds=600)
    assert hub.stalled.wait(60)
    _wait_for_bytes(tmp_path / "models/toy/partial", 600_000)

    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=10)
    assert nothing_published(tmp_path)
    before = hub.bytes_served
    got = store_for(hub, tmp_path).ensure("toy", model_url=URL)

    again = hub.bytes_served - before
    assert again == got.bytes_fetched < 0.6 * size_of(model)
    assert got.version.size_bytes == size_of(model)
    assert store_for(hub, tmp_path).verify("toy")[0].ok
    assert hub.requests[-1].headers["range"].startswith("bytes=")


def test_a_connection_that_is_cut_is_taken_up_where_it_broke(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    hub.add(REPO, model)
    hub.cut_after(300_000, times=3)

    got = store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert got.bytes_fetched == hub.bytes_served == size_of(model)


def test_a_hub_that_stalls_for_ever_ends_in_words_and_the_part_is_kept(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    hub.add(REPO, model)
    hub.stall_after(0)

    with pytest.raises(
        ModelError, match=r"model\.safetensors could not be fetched .* sent nothing for 0\.5 s"
    ):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)
    hub.heal()
    assert store_for(hub, tmp_path).ensure("toy", model_url=URL).version.size_bytes == size_of(model)


def test_a_hub_that_drips_is_given_up_after_the_total_time(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.slow(50_000)

    with pytest.raises(ModelError, match=r"was not here after 1 s: try again, it goes on at byte"):
        store_for(hub, tmp_path, replace(QUICK, total_seconds=1)).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)


def test_a_hub_that_drips_less_than_a_kilobyte_is_a_stall(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.slow(100)

    with pytest.raises(ModelError, match=r"it sent \d+ bytes in 0\.3 s"):
        store_for(hub, tmp_path, replace(QUICK, stall_seconds=0.3, tries=1)).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)


def test_other_bytes_of_the_right_size_are_not_published(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.lie(times=1)

    with pytest.raises(
        ModelCorrupt, match=r"model\.safetensors .* sha256 [0-9a-f]{64} where the Hub lists [0-9a-f]{64}"
    ):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)
    assert store_for(hub, tmp_path).ensure("toy", model_url=URL).version.size_bytes == size_of(model)


def test_a_small_file_with_other_bytes_is_noticed_too(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.lie("tokenizer.json", times=1)

    with pytest.raises(ModelCorrupt, match=r"tokenizer\.json .* git sha1"):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)


def test_a_part_that_was_wrong_from_the_start_is_fetched_once_more(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    commit = hub.add(REPO, model)
    part = tmp_path / f"models/toy/partial/{commit}/model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)

    got = store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert got.version.size_bytes == size_of(model)


def test_a_web_page_instead_of_a_file_is_said_to_be_one(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.html()

    with pytest.raises(ModelError, match=r"a web page came instead of .*: is there a log-in page or a proxy"):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)


def test_a_web_page_instead_of_the_description_is_said_too(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.html("/api/")

    with pytest.raises(ModelError, match="did not answer like a Hub"):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)


def test_a_busy_hub_is_asked_again_after_the_time_it_names(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.too_many_requests(1, "/api/")
    hub.unavailable(".safetensors", times=2)
    lines: list[str] = []

    got = store_for(hub, tmp_path).ensure("toy", model_url=URL, progress=lines.append)

    assert got.version.size_bytes == size_of(model)
    assert any("429; trying again in 1 s" in line for line in lines)


def test_a_hub_that_asks_to_wait_too_long_ends_in_words(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)
    hub.too_many_requests(3600, ".safetensors")

    with pytest.raises(ModelError, match="answered 429, and asks to wait 3600 s"):
        store_for(hub, tmp_path, replace(QUICK, total_seconds=1e5)).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest", "http://localhost/x", "ftp://example.org/x"]
)
def test_a_redirect_to_an_inner_address_is_not_followed(
    hub: FakeHub, model: Path, tmp_path: Path, location: str
) -> None:
    hub.add(REPO, model)
    hub.redirect(location)

    with pytest.raises(Refused):
        store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert nothing_published(tmp_path)


def test_a_hub_that_cannot_be_reached_is_said_with_what_to_do(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models", hub=Hub("http://127.0.0.1:9", patience=QUICK))

    with pytest.raises(
        ModelNotCached, match=r"offline: http://127\.0\.0\.1:9 .* org/toy is not cached.*models/toy"
    ):
        store.ensure("toy", model_url=URL)


def test_a_model_that_the_hub_does_not_have_is_named(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    hub.add(REPO, model)

    with pytest.raises(ModelError, match="no model org/other on"):
        store_for(hub, tmp_path).ensure("toy", model_url="org/other")
    with pytest.raises(ModelError, match="no revision 'v2'"):
        store_for(hub, tmp_path).ensure("toy", model_url=f"{URL}/tree/v2")


def test_a_revision_can_be_asked_for(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    old = hub.add(REPO, model)
    hub.add(REPO, smallmodels.build(tmp_path / "newer", seed=2))

    got = store_for(hub, tmp_path).ensure("toy", model_url=URL, revision=old)

    assert got.version.revision == old


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/org/toy",
        "http://huggingface.co/org/toy",
        "https://huggingface.co@evil.example/org/toy",
        "https://user@huggingface.co/org/toy",
        "file:///etc/passwd",
        "https://huggingface.co:8443/org/toy",
        "https://huggingface.co\\@evil.example/org/toy",
    ],
)
def test_a_model_url_on_another_host_is_refused_without_a_request(
    hub: FakeHub, tmp_path: Path, url: str
) -> None:
    with pytest.raises(Refused, match="is not on the Hub"):
        store_for(hub, tmp_path).ensure("toy", model_url=url)

    assert hub.requests == []


@pytest.mark.parametrize(
    "url", ["https://huggingface.co/", "a/b/c", "../x", "https://huggingface.co/datasets/a/b", ""]
)
def test_a_model_url_that_names_no_model_is_refused_in_words(hub: FakeHub, tmp_path: Path, url: str) -> None:
    with pytest.raises((BadRequest, ModelNotCached)):
        store_for(hub, tmp_path).ensure("toy", model_url=url)

    assert hub.requests == []


def test_the_token_goes_to_the_hub_and_into_no_file(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    token = "hf_CANARYcanary0123456789"
    hub.add(REPO, model)
    hub.unavailable(".safetensors", times=3)
    lines: list[str] = []

    with pytest.raises(ModelError) as caught:
        store_for(hub, tmp_path, token=token).ensure("toy", model_url=URL, progress=lines.append)

    assert hub.requests[-1].headers["authorization"] == f"Bearer {token}"
    assert token not in str(caught.value) + repr(caught.value) + "".join(lines)
    assert all(
        token.encode() not in path.read_bytes() for path in (tmp_path / "models").rglob("*") if path.is_file()
    )


def test_without_a_token_none_is_sent_and_nothing_is_told_of_the_machine(
    hub: FakeHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_belongsToTheUserNotToUs")
    hub.add(REPO, model)

    store_for(hub, tmp_path).ensure("toy", model_url=URL)

    assert all("authorization" not in request.headers for request in hub.requests)
    assert {request.headers["user-agent"] for request in hub.requests} == {"wattbus"}


def test_a_disk_without_room_is_said_before_the_weights_are_fetched(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    hub.add(REPO, model)
    store = ModelStore(
        tmp_path / "models", hub=Hub(hub.endpoint, patience=QUICK), free_bytes=lambda folder: 300_000
    )

    with pytest.raises(ModelError, match=r"the model toy needs 1\.0 MB, 0\.3 MB are free"):
        store.ensure("toy", model_url=URL)

    assert hub.bytes_served == 0 and nothing_published(tmp_path)


def test_the_same_revision_under_a_second_name_is_not_downloaded_again(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    hub.add(REPO, model)
    store = store_for(hub, tmp_path)
    first = store.ensure("toy", model_url=URL)
    before = hub.bytes_served

    second = store.ensure("twin", model_url=URL)

    assert (second.bytes_fetched, hub.bytes_served) == (0, before)
    assert second.version.source == first.version.source
    assert store.verify("twin")[0].ok


def test_a_file_that_went_missing_is_fetched_again_from_the_same_revision(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    commit = hub.add(REPO, model)
    store = store_for(hub, tmp_path)
    version = store.ensure("toy", model_url=URL).version
    hub.add(REPO, smallmodels.build(tmp_path / "newer", seed=2))
    (version.path / "tokenizer.json").unlink()

    got = store.ensure("toy", model_url=URL)

    assert got.version == version and version.revision == commit
    assert store.verify("toy")[0].ok


def test_a_changed_file_is_repaired_from_the_same_revision_when_asked(
    hub: FakeHub, model: Path, tmp_path: Path
) -> None:
    hub.add(REPO, model)
    store = store_for(hub, tmp_path)
    version = store.ensure("toy", model_url=URL).version
    weights = version.path / "model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelCorrupt):
        store.open_verified("toy")

    store.repair("toy")

    assert store.open_verified("toy") == version


def _child(hub: FakeHub, tmp_path: Path, stall_seconds: float = 30) -> subprocess.Popen[bytes]:
    program = f"""
from pathlib import Path
from wattbus.ml.hub import Hub, Patience
from wattbus.ml.models import ModelStore
hub = Hub({hub.endpoint!r}, patience=Patience(stall_seconds={stall_seconds}))
print(ModelStore(Path({str(tmp_path / "models")!r}), hub=hub).ensure("toy", model_url={URL!r}).already_cached)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src/python")}
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)


def _wait_for_bytes(folder: Path, count: int) -> None:
    """Wait until what the server sent has been written by the client."""
    waiting = threading.Event()
    for _ in range(1000):
        if folder.is_dir() and size_of(folder) >= count:
            return
        waiting.wait(0.01)
    raise AssertionError(f"{count} bytes never came")
