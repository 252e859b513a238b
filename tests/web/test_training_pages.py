"""The pages of the trainings: their list, one while it runs and afterwards, several side by side."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import OpenDoor, open_door
from trainings import HOSTILE, opened, prepared, production, state_of, train, trained

from waiting import until
from wattbus.ml.curve import CURVE, Curve, keep_only_the_curve, read_curve
from wattbus.store.power import power_curve
from wattbus.store.tables import energy_intervals, messages
from wattbus.web.training_pages import MOST_COMPARED


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A door to a production that has trained twice."""
    with opened(tmp_path_factory.mktemp("trained")) as ask:
        trained(ask)
        trained(ask, learning_rate=0.02)
        yield ask


def test_the_list_tells_each_training_from_its_request_to_its_version(ask: OpenDoor) -> None:
    said = ask("GET", "/api/v1/trainings").said
    page = ask.page("/trainings").said

    newest, oldest = said["runs"]
    assert newest["id"] > oldest["id"]
    assert (oldest["item"], oldest["model"], oldest["table"]) == ("Tune", "toy", "Review")
    assert (oldest["train_rows"], oldest["test_rows"]) == (32, 8)
    assert oldest["options"]["learning_rate"] == 0.01
    assert oldest["new_version"].startswith("v0002-")
    assert said["items"] == ["Tune"]
    assert f'href="/trainings/{oldest["id"]}"' in page
    assert oldest["new_version"] in page


def test_an_ended_training_shows_its_curves_and_the_examples_whose_answer_changed(ask: OpenDoor) -> None:
    number = ask("GET", "/api/v1/trainings").said["runs"][1]["id"]

    said = ask("GET", f"/api/v1/trainings/{number}").said
    page = ask.page(f"/trainings/{number}").said

    run = said["run"]
    assert [step for step, _ in said["losses"]] == list(range(1, 9))
    assert [step for step, _ in said["metrics"]["accuracy"]] == [0, 4, 8]
    assert len(run["changed_examples"]) == run["changed_predictions"]
    for example in run["changed_examples"]:
        assert example["old"] != example["new"]
        assert HOSTILE in example["text"]
    assert said["published"] is False
    assert '<polyline class="line-0"' in page


def test_markup_in_labels_and_texts_comes_to_the_pages_as_text(ask: OpenDoor) -> None:
    number = ask("GET", "/api/v1/trainings").said["runs"][0]["id"]
    paths = [
        "/trainings", f"/trainings/{number}", f"/trainings/compare?ids={number},{number - 2}", "/models/toy",
        "/tables", "/tables/Review",
    ]  # fmt: skip

    pages = [ask.page(path) for path in paths]

    assert [page.status for page in pages] == [200] * len(paths)
    assert all(HOSTILE not in page.said for page in pages)
    assert "&lt;img src=x" in pages[1].said
    assert "&lt;img src=x" in pages[5].said


def test_trainings_side_by_side_mark_what_differs(ask: OpenDoor) -> None:
    newer, older = (run["id"] for run in ask("GET", "/api/v1/trainings").said["runs"])

    said = ask("GET", f"/api/v1/trainings/compare?ids={older}&ids={newer}").said
    page = ask.page(f"/trainings/compare?ids={older},{newer}").said

    rows = {row["name"]: row for row in said["rows"] if row["group"] == "Settings"}
    assert (rows["learning_rate"]["values"], rows["learning_rate"]["differs"]) == (["0.01", "0.02"], True)
    assert (rows["seed"]["values"], rows["seed"]["differs"]) == (["5", "5"], False)
    assert [run["id"] for run in said["runs"]] == [older, newer]
    assert 'title="differs"' in page


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        ("ids=1", "choose two trainings or more"),
        ("", "choose two trainings or more"),
        ("ids=1,x", "ids names 'x'"),
        ("ids=1,%EF%BC%92", "ids names"),
        ("ids=" + ",".join(map(str, range(1, MOST_COMPARED + 2))), "at most 100"),
        ("ids=1,999999", "there is no training 999999"),
        ("ids=1,999999999999999999", "there is no training 999999999999999999"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_in_a_sentence(ask: OpenDoor, ids: str, why: str) -> None:
    refused = ask("GET", f"/api/v1/trainings/compare?{ids}")

    assert refused.status == 400
    assert why in refused.said["detail"]


def test_a_number_that_is_no_training_is_refused(ask: OpenDoor) -> None:
    none = ask("GET", "/api/v1/trainings/999999")
    huge = ask("GET", f"/api/v1/trainings/{10**30}")
    page = ask.page("/trainings/999999")

    assert (none.status, huge.status, page.status) == (400, 400, 400)
    assert "there is no training 999999" in none.said["detail"]


def test_what_a_training_staged_is_published_by_a_message_and_rolled_back(tmp_path: Path) -> None:
    with opened(tmp_path) as ask:
        number = trained(ask)
        version = ask("GET", f"/api/v1/trainings/{number}").said["run"]["new_version"]

        viewer = ask.as_role("viewer")("POST", f"/api/v1/trainings/{number}/publish")
        form = ask.as_role("operator").form(f"/trainings/{number}/publish", {"back": f"/trainings/{number}"})
        after = ask("GET", f"/api/v1/trainings/{number}").said
        again = ask("POST", f"/api/v1/trainings/{number}/publish")
        back = ask("POST", "/api/v1/models/toy/rollback")
        kinds = {row.body_class for row in _messages(ask)}

    assert viewer.status == 403
    assert (form.status, form.headers["location"]) == (303, f"/trainings/{number}")
    assert (after["published"], after["staged"]) == (True, False)
    assert "wattbus.messages.OverrideRequest" in kinds
    assert again.status == 400
    assert "is not staged any more" in again.said["detail"]
    assert back.said["version"] == after["rolls_back_to"] != version


def test_a_running_training_tells_how_far_it_is_and_is_cancelled(tmp_path: Path) -> None:
    with opened(tmp_path) as ask:
        number = train(ask, num_train_epochs=1000)
        until(lambda: bool(_seen(ask, number)["losses"]), "the first losses are there", 180)

        running = _seen(ask, number)
        page = ask.page(f"/trainings/{number}").said
        viewer = ask.as_role("viewer")("POST", f"/api/v1/trainings/{number}/cancel")
        told = ask("POST", f"/api/v1/trainings/{number}/cancel")
        until(lambda: state_of(ask, number) == "Error", "it is cancelled", 60)
        ended = _seen(ask, number)
        again = ask("POST", f"/api/v1/trainings/{number}/cancel")

    assert (running["open"], running["run"]["state"], running["run"]["model"]) == (True, "running", "toy")
    assert running["progress"]["total"] == 4_000
    assert "of 4,000" in page
    assert 'hx-trigger="every 2s"' in page
    assert viewer.status == 403
    assert told.said["sentence"] == f"Training {number} is being ended; nothing will be staged."
    assert "cancelled by" in ended["run"]["error"]
    assert ended["losses"]
    assert again.status == 400


def test_the_curve_of_a_failed_training_outlives_a_restart_and_nothing_else_of_its_folder(
    tmp_path: Path,
) -> None:
    home = prepared(tmp_path)
    with open_door(tmp_path, production()) as ask:
        number = trained(ask, learning_rate=1e30)
        before = _seen(ask, number)
    with open_door(tmp_path, production()) as ask:
        after = _seen(ask, number)
        left = [path.name for path in (home.runs / f"message-{number}").iterdir()]

    assert "diverged" in before["run"]["error"]
    assert after["losses"] == before["losses"] != []
    assert left == [CURVE]


def test_a_curve_goes_on_after_its_checkpoint_and_reads_past_a_line_that_a_kill_has_cut(
    tmp_path: Path,
) -> None:
    first = Curve(tmp_path)
    first.begin(0)
    for step in range(1, 11):
        first.loss(step, 20, 1.0 / step)
    with (tmp_path / CURVE).open("a") as file:
        file.write('{"step": 11, "tot')

    cut = read_curve(tmp_path)
    Curve(tmp_path).begin(5)
    resumed = read_curve(tmp_path)

    assert [point.step for point in cut] == list(range(1, 11))
    assert [point.step for point in resumed] == [1, 2, 3, 4, 5]


def test_a_long_training_keeps_some_hundred_losses(tmp_path: Path) -> None:
    curve = Curve(tmp_path)
    for step in range(1, 10_001):
        curve.loss(step, 10_000, 0.5)

    assert len(read_curve(tmp_path)) == 401


def test_a_run_folder_without_a_curve_is_removed_whole(tmp_path: Path) -> None:
    folder = tmp_path / "message-1"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "spec.json").touch()

    keep_only_the_curve(folder)

    assert not folder.exists()


def test_the_power_of_a_span_is_the_mean_of_its_readings(tmp_path: Path) -> None:
    with opened(tmp_path) as ask:
        engine = ask.director.current().store.engine
        with engine.begin() as connection:
            connection.execute(
                energy_intervals.insert(),
                [_reading(second) for second in range(1000)],
            )
        whole = power_curve(engine, 0, 1_000_000_000, most=10)
        part = power_curve(engine, 500_000_000, 510_000_000)
        none = power_curve(engine, 5_000_000_000, 6_000_000_000)

    assert len(whole.points) == 10
    assert [point.machine_watts for point in whole.points[:2]] == [49.5, 149.5]
    assert [point.machine_watts for point in part.points] == [float(second) for second in range(500, 510)]
    assert (whole.tiers, none.points) == (["modelled"], [])


def test_the_list_and_a_hundred_side_by_side_use_the_index_of_trainings(tmp_path: Path) -> None:
    with opened(tmp_path) as ask:
        engine = ask.director.current().store.engine
        ids = [
            ask.director.current().submit("Tune", ask.director.current().message("msg.TrainRequest", body))
            for body in (
                {"table": "none", "columns": "a,b", "learning_rate": random.random()} for _ in range(100)
            )
        ]
        until(lambda: state_of(ask, ids[-1]) == "Error", "all have failed", 60)
        begun = time.monotonic()
        compared = ask("GET", f"/api/v1/trainings/compare?ids={','.join(map(str, ids))}")
        seconds = time.monotonic() - begun
        pages = [ask("GET", "/api/v1/trainings").said]
        while pages[-1]["older"]:
            pages.append(ask("GET", f"/api/v1/trainings?before={pages[-1]['older']}").said)
        with engine.connect() as connection:
            plan = connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT * FROM messages WHERE body_class = 'wattbus.messages.TrainRequest' "
                "AND type = 'Request' ORDER BY id DESC LIMIT 50"
            ).all()

    assert len(compared.said["runs"]) == 100
    assert seconds < 5
    assert [run["id"] for page in pages for run in page["runs"]] == ids[::-1]
    assert "messages_trainings" in str(plan)


def test_a_production_that_has_never_trained_says_what_to_do_next(tmp_path: Path) -> None:
    with open_door(tmp_path, production(), start=False) as ask:
        trainings, models, tables = (ask.page(path) for path in ("/trainings", "/models", "/tables"))

    assert [page.status for page in (trainings, models, tables)] == [200, 200, 200]
    assert "Nothing was trained here yet" in trainings.said
    assert "No model is cached yet" in models.said
    assert "There is no table yet" in tables.said


def _reading(second: int) -> dict[str, object]:
    """Return a reading of the meter: as many watts as seconds have gone."""
    return {
        "instance": "x", "started_at_us": 1_000_000 * second, "duration_seconds": 1.0, "total_joules": float(second),
        "operations_joules": 0.5, "idle_joules": 0.0, "others_joules": 0.0, "overhead_joules": 0.0, "tier": "modelled",
        "method": "a test",
    }  # fmt: skip


def _seen(ask: OpenDoor, number: int) -> dict[str, object]:
    said: dict[str, object] = ask("GET", f"/api/v1/trainings/{number}").said
    return said


def _messages(ask: OpenDoor) -> list[object]:
    with ask.director.current().store.engine.connect() as connection:
        return list(connection.execute(messages.select()))


def test_the_trainings_and_the_power_are_read_from_postgresql_as_well(
    tmp_path: Path, postgres_url: str
) -> None:
    prepared(tmp_path)
    with open_door(tmp_path, production(), store_url=postgres_url) as ask:
        engine = ask.director.current().store.engine
        with engine.begin() as connection:
            connection.execute(energy_intervals.insert(), [_reading(second) for second in range(100)])
        number = trained(ask, table="none")
        said = ask("GET", "/api/v1/trainings").said["runs"]
        power = power_curve(engine, 0, 100_000_000, most=10)

    assert [(run["id"], run["state"]) for run in said] == [(number, "Error")]
    assert "none" in said[0]["error"]
    assert [point.machine_watts for point in power.points[:2]] == [4.5, 14.5]


def test_an_ended_training_shows_its_rungs_its_scores_by_label_and_its_calibration(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as ask:
        number = trained(ask, method="features")
        run = ask("GET", f"/api/v1/trainings/{number}").said["run"]
        page = ask.page(f"/trainings/{number}").said

    (rung,) = run["ladder"]["rungs"]
    assert (rung["name"], rung["state"], run["options"]["method"]) == ("features", "done", "features")
    assert sum(map(sum, run["ladder"]["new_scores"]["confusion"])) == run["test_rows"]
    for title in ("Rungs", "By label", "Confusion", "Calibration", "Learning curve"):
        assert f"<h2>{title}</h2>" in page
    assert "features (chosen)" in page
    assert "more rows" in page
