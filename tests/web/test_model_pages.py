"""The pages of the models: what is cached, the versions of one model, and what can be done to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from doors import OpenDoor, open_door
from iop import Production
from trainings import HOSTILE, opened, trained

import smallmodels
from command import Command
from components import echo_production
from wattbus.home import Home
from wattbus.ml.models import ModelStore
from wattbus.operations import MLOperation, OptimiseOperation, TuningOperation

#: Names that could lead out of the folder of models, as S9 lists them.
ASTRAY = [
    "..", "%2e%2e", "%252e%252e", "..%2f..%2fetc", "%2fetc%2fpasswd", "..%5c..%5cetc", "C:%5c", "a%00b", "a" * 300,
    "CON", "nul.json", "-rf", ".hidden", "t%D0%BEy", "a..b", "toy.", "%EF%BC%8E%EF%BC%8E",
]  # fmt: skip
ACTIONS = ("verify", "publish", "rollback", "repair", "delete")


def store_of(folder: Path) -> ModelStore:
    return ModelStore(Home(folder).create().models)


def publish(store: ModelStore, *seeds: int, parent: str | None = None, **more: Any) -> list[str]:
    """Publish a version a seed, one after the other, and return their ids."""
    ids = []
    for seed in seeds:
        stage(store, seed, parent=parent, **more)
        ids.append(store.publish("toy").id)
    return ids


def stage(store: ModelStore, seed: int, **more: Any) -> str:
    return store.stage("toy", lambda folder: smallmodels.build(folder, seed=seed), source="a test", **more).id


def test_a_model_shows_its_versions_their_files_and_who_uses_it(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    first, second = publish(store, 1, 2, licence="apache-2.0", metrics={"accuracy": 0.75})
    waiting = stage(store, 3, parent=second)
    production = Production("Test.Users")
    production.operation("Ask", MLOperation, settings={"%settings": "name=toy\ntask=text-classification"})
    production.operation("Tune", TuningOperation, settings={"model_name": "toy"})

    with open_door(tmp_path, production, start=False) as ask:
        listed = ask("GET", "/api/v1/models").said["models"]
        said = ask("GET", "/api/v1/models/toy").said
        page = ask.page("/models/toy")

    assert [(row["name"], row["published"], row["staged"], row["versions"]) for row in listed] == [
        ("toy", second, waiting, 3)
    ]
    assert listed[0]["used_by"] == ["Ask", "Tune"]
    assert [(one["id"], one["mark"]) for one in said["versions"]] == [
        (waiting, "staged"),
        (second, "published"),
        (first, ""),
    ]
    assert said["rolls_back_to"] == first
    assert said["versions"][1]["children"] == [waiting]
    assert {file["name"] for file in said["versions"][0]["files"]} >= {"model.safetensors", "config.json"}
    assert all(len(file["sha256"]) == 64 for file in said["versions"][0]["files"])
    assert said["history"][0]["event"] == "staged"
    assert page.status == 200
    assert said["versions"][0]["files"][0]["sha256"] in page.said


def test_a_version_leads_to_the_training_that_made_it_also_where_it_does_not_say_so(tmp_path: Path) -> None:
    with opened(tmp_path) as ask:
        number = trained(ask)
        said = ask("GET", "/api/v1/models/toy").said["versions"][0]
        page = ask.page("/models/toy").said
        _forget_the_message(ask, said["id"])
        found = ask("GET", "/api/v1/models/toy").said["versions"][0]

    assert (said["facts"]["message_id"], said["training"]) == (number, number)
    assert f'href="/trainings/{number}"' in page
    assert "message_id" not in found["facts"]
    assert found["training"] == number


def test_versions_are_verified_published_rolled_back_and_deleted(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    first, second = publish(store, 1, 2)
    waiting = stage(store, 3)

    with open_door(tmp_path, echo_production()) as ask:
        whole = ask("POST", "/api/v1/models/toy/verify").said
        published = ask("POST", "/api/v1/models/toy/publish", {"version": waiting}).said
        back = ask("POST", "/api/v1/models/toy/rollback").said
        gone = ask("POST", "/api/v1/models/toy/delete", {"version": first}).said
        left = ask("GET", "/api/v1/models/toy").said

    assert whole["ok"] is True
    assert [check["version"] for check in whole["checks"]] == [first, second, waiting]
    assert published["sentence"] == f"model toy: {waiting} is published and replaces {second}."
    assert back["version"] == second
    assert gone["sentence"].startswith(f"model toy: {first} is removed, ")
    assert [one["id"] for one in left["versions"]] == [waiting, second]
    assert left["rolls_back_to"] is None
    assert left["history"][0] | {"at_us": 0} == {"at_us": 0, "event": "removed", "version": first}
    assert [check.ok for check in store.verify("toy")] == [True, True]
    assert list((store.root / "toy" / "aside").iterdir()) == []


def test_a_form_says_in_a_sentence_what_a_verification_found(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    (only,) = publish(store, 1)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        sound = ask.form("/models/toy/verify", {"back": "/models/toy"})
        _change(store, only)
        wrong = ask.form("/models/toy/verify", {"back": "/models/toy"})
        refused = ask("POST", "/api/v1/models/toy/publish", {"version": only})
        page = ask.page("/models/toy")

    assert (sound.status, wrong.status, page.status) == (303, 303, 200)
    assert "every%20file%20is%20as%20its%20manifest%20says" in sound.headers["set-cookie"]
    assert "is%20wrong" in wrong.headers["set-cookie"]
    assert "%22wrong%22%3A%20true" in wrong.headers["set-cookie"]
    assert refused.status == 409
    assert "is not what was published" in refused.said["detail"]


def test_what_is_published_staged_or_a_parent_is_not_deleted(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    first, second = publish(store, 1, 2)
    third = publish(store, 3, parent=first)[0]
    waiting = stage(store, 4)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        refused = {
            version: ask("POST", "/api/v1/models/toy/delete", {"version": version})
            for version in (first, third, waiting, "v0009-00000000", "../../x")
        }
        nobody = ask("POST", "/api/v1/models/toi/delete", {"version": first})
        operator = ask.as_role("operator")("POST", "/api/v1/models/toy/delete", {"version": second})
        left = [one["id"] for one in ask("GET", "/api/v1/models/toy").said["versions"]]

    assert f"is the parent of {third}" in refused[first].said["detail"]
    assert "is the published version" in refused[third].said["detail"]
    assert "is staged" in refused[waiting].said["detail"]
    assert "unknown version" in refused["v0009-00000000"].said["detail"]
    assert refused["../../x"].status == 404
    assert [refused[one].status for one in (first, third, waiting)] == [400, 400, 400]
    assert (nobody.status, operator.status) == (404, 403)
    assert "did you mean 'toy'" in nobody.said["detail"]
    assert left == [waiting, third, second, first]


@pytest.mark.parametrize("name", ASTRAY)
def test_a_name_that_leads_astray_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    store = store_of(tmp_path)
    publish(store, 1)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        before = _everything(tmp_path)
        looked = [ask("GET", f"/api/v1/models/{name}"), ask.page(f"/models/{name}")]
        acted = [
            ask("POST", f"/api/v1/models/{name}/{action}", {"version": "v0001-00000000"})
            for action in ACTIONS
        ]
        after = _everything(tmp_path)

    assert {answer.status for answer in (*looked, *acted)} <= {400, 403, 404, 405, 422}
    assert after == before


def test_a_link_among_the_models_is_not_followed(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    (only,) = publish(store, 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text(json.dumps({"secret": "canary"}))
    (store.root / "linked").symlink_to(outside)
    (store.root / "toy" / "versions" / "v0002-00000000").symlink_to(outside)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        answers = [
            ask("GET", "/api/v1/models"),
            ask("GET", "/api/v1/models/linked"),
            ask("GET", "/api/v1/models/toy"),
            ask("POST", "/api/v1/models/linked/verify"),
            ask("POST", "/api/v1/models/toy/publish", {"version": "v0002-00000000"}),
            ask("POST", "/api/v1/models/toy/delete", {"version": "v0002-00000000"}),
        ]

    assert [answer.status for answer in answers] == [200, 403, 200, 403, 404, 404]
    assert "canary" not in str([answer.said for answer in answers])
    assert [one["id"] for one in answers[2].said["versions"]] == [only]
    assert (outside / "secret.json").exists()


def test_hostile_facts_of_a_version_come_to_the_page_as_text(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    publish(store, 1, licence=HOSTILE, facts={HOSTILE: [HOSTILE]}, metrics={HOSTILE: 1.0}, note=HOSTILE)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        pages = [ask.page("/models"), ask.page("/models/toy")]

    assert [page.status for page in pages] == [200, 200]
    assert all(HOSTILE not in page.said and "&lt;img src=x" in page.said for page in pages)


def test_a_version_whose_manifest_is_broken_is_shown_as_such(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    first, second = publish(store, 1, 2)
    manifest = store.root / "toy" / "versions" / first / "manifest.json"
    manifest.chmod(0o600)
    manifest.write_text("{")

    with open_door(tmp_path, echo_production(), start=False) as ask:
        said = ask("GET", "/api/v1/models/toy").said
        pages = [ask.page("/models"), ask.page("/models/toy")]

    assert [one["id"] for one in said["versions"]] == [second, first]
    assert "manifest" in said["versions"][1]["problem"]
    assert [page.status for page in pages] == [200, 200]


def test_the_roles_of_the_actions_hold(tmp_path: Path) -> None:
    publish(store_of(tmp_path), 1, 2)

    with open_door(tmp_path, echo_production(), start=False) as ask:
        viewer = ask.as_role("viewer")
        refused = [
            viewer("POST", f"/api/v1/models/toy/{action}", {"version": "v0001-00000000"})
            for action in ACTIONS
        ]
        looked = viewer("GET", "/api/v1/models/toy")
        page = viewer.page("/models/toy").said
        forms = [viewer.form(f"/models/toy/{action}") for action in ACTIONS]

    assert {answer.status for answer in (*refused, *forms)} == {403}
    assert looked.status == 200
    assert "Delete" not in page
    assert "Verify" not in page


def test_the_command_removes_a_version_and_says_why_it_does_not(tmp_path: Path) -> None:
    wattbus = Command(tmp_path)
    store = store_of(wattbus.home)
    first, second = publish(store, 1, 2)

    said = wattbus("models", "rm", "toy", first)
    refused = wattbus("models", "rm", "toy", second, status=1)

    assert said.startswith(f"toy: {first} is removed, ")
    assert "is the published version" in refused
    assert store.ids("toy") == [second]


def _change(store: ModelStore, version: str) -> None:
    file = store.root / "toy" / "versions" / version / "model.safetensors"
    file.chmod(0o600)
    file.write_bytes(smallmodels.safetensors_bytes(seed=99))


def _forget_the_message(ask: OpenDoor, version: str) -> None:
    """Make a version's manifest as earlier releases wrote it: without the message that made it."""
    file = ask.director.home.models / "toy" / "versions" / version / "manifest.json"
    document = json.loads(file.read_bytes())
    del document["facts"]["message_id"]
    file.chmod(0o600)
    file.write_text(json.dumps(document))


def _everything(folder: Path) -> set[str]:
    """Return every path of the home but the store's own files, which come and go."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "store.sqlite" not in path.name}


def test_an_optimised_version_shows_what_it_came_to_and_the_page_says_who_optimises(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    (first,) = publish(store, 1)
    side = {"size_bytes": 4000, "load_seconds": 2.0, "p50_ms": 30.5, "p95_ms": 41.0, "per_second": 33.0}
    optimised = {
        "name": "fp32",
        "reason": "100.00% of the labels stay, 3.00 times the throughput, 100% of the size.",
        "likeness": {"max_difference": None, "mean_difference": None},
        "before": {**side, "joules_per_1000": None, "tier": None},
        "after": {**side, "per_second": 99.0, "joules_per_1000": 12.0, "tier": "measured"},
    }
    made = stage(store, 2, parent=first, facts={"optimised": optimised})
    production = Production("Test.Optimising")
    settings = {"name": "toy", "task": "text-classification"}
    production.operation("Optimise", OptimiseOperation, settings=settings)

    with open_door(tmp_path, production, start=False) as ask:
        said = ask("GET", "/api/v1/models/toy").said
        page = ask.page("/models/toy")

    assert [one["item"] for one in said["optimisers"]] == ["Optimise"]
    assert said["optimisers"][0]["address"].startswith("/test?item=Optimise&type=OptimiseRequest&body=")
    assert f"Optimisation of {made}" in page.said
    assert "3.00 times the throughput" in page.said
    assert "it is not in the store any more" not in page.said
