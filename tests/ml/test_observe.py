"""What code does with models is seen with no line changed, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kinds
import tinymodels
from fakehub import FakeHub
from wattbus.energy.record import DataFacts
from wattbus.ml.observe import Observation, Sighting
from wattbus.ml.observe_data import Tally


def seen(work: Callable[[], Any]) -> Sighting:
    observation = Observation().start()
    try:
        work()
    finally:
        sighting = observation.stop()
    assert sighting is not None
    return sighting


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.build("text-classification", tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="module")
def cache(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinds.cached(folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _hub_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


def test_a_model_that_came_from_the_hub_is_named_with_its_commit(cache: Path) -> None:
    sighting = seen(lambda: kinds.hub_pipeline_run(cache))

    page = f"https://huggingface.co/{kinds.REPOSITORY}"
    assert (sighting.model, sighting.revision) == (kinds.REPOSITORY, kinds.COMMIT)
    assert sighting.facts.algorithm_uri == f"{page}/tree/{kinds.COMMIT}"
    assert sighting.facts.foundation_model_uri == page


def test_a_pipeline_is_seen_with_its_model_and_what_it_was_asked(folder: Path) -> None:
    sighting = seen(lambda: kinds.pipeline_run(folder))

    facts = sighting.facts
    assert (facts.stage, facts.family, facts.requests) == ("inference", "text-classification", 2)
    assert (facts.foundation_model, facts.algorithm_name) == ("tiny-bert", "BertForSequenceClassification")
    assert (facts.framework, facts.layers, facts.precision) == ("transformers", 2, "fp32")
    assert facts.parameters is not None and facts.parameters > 10_000
    inputs, outputs = facts.data
    assert (inputs.usage, inputs.kind, inputs.items) == ("input", "text", 2)
    assert inputs.bytes == sum(len(text.encode()) for text in kinds.TEXTS[:2])
    assert (outputs.usage, outputs.items) == ("output", 2)
    assert str(folder.parent) not in str(sighting)


def test_a_training_by_the_trainer_is_seen(cache: Path, tmp_path: Path) -> None:
    measured: list[float] = []

    sighting = seen(
        lambda: measured.append(kinds.trainer_run(cache, kinds.reviews(tmp_path), tmp_path / "run"))
    )

    facts = sighting.facts
    assert (facts.stage, facts.training_type, facts.epochs) == ("finetuning", "transferLearning", 2.0)
    assert (facts.family, facts.optimizer) == ("textClassification", "adamw_torch_fused")
    assert [facts.accuracy] == measured
    (data,) = facts.data
    assert (data.kind, data.items, data.shape) == ("text", 8, "(8, 4)")
    assert data.bytes is not None and data.bytes > 0
    assert (data.format, data.source_uri) == ("csv", "file:reviews.csv")


def test_a_plain_torch_loop_is_seen_with_its_epochs_optimizer_and_loss() -> None:
    sighting = seen(lambda: kinds.torch_run(epochs=3))

    facts = sighting.facts
    assert (facts.stage, facts.family, facts.training_type) == (
        "training",
        "classification",
        "supervisedLearning",
    )
    assert (facts.epochs, facts.optimizer, facts.layers) == (3.0, "AdamW", 2)
    assert facts.parameters == 8 * 16 + 16 + 16 * 3 + 3
    assert facts.data == (DataFacts("input", "tabular", 100, 100 * 8 * 4, "(100, 8)"),)


def test_epochs_of_a_loop_without_a_loader_are_known_where_the_batches_stay_the_same() -> None:
    import torch

    rows, answers = torch.randn(40, 3), torch.randn(40, 1)

    def loop(batches: Callable[[], list[Any]]) -> float | None:
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

        def train() -> None:
            for _ in range(4):
                for batch in batches():
                    optimizer.zero_grad()
                    torch.nn.functional.mse_loss(model(batch), answers[: len(batch)]).backward()
                    optimizer.step()

        return seen(train).facts.epochs

    assert loop(lambda: [rows]) == 4.0
    assert loop(lambda: [rows[:20], rows[20:]]) == 4.0
    assert loop(lambda: [torch.randn(20, 3)]) is None


def test_an_inference_with_torch_is_counted_by_calls_of_the_outermost_module() -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)).eval()

    def infer() -> None:
        with torch.no_grad():
            model(torch.zeros(3, 4))
            model(torch.zeros(5, 4))

    sighting = seen(infer)

    assert (sighting.facts.stage, sighting.facts.requests) == ("inference", 2)
    assert sighting.facts.data[0] == DataFacts("input", "tabular", 8, 8 * 4 * 4, "(3..5, 4)")


def test_an_estimator_of_scikit_learn_is_seen_inside_a_pipeline() -> None:
    scored: list[float] = []

    sighting = seen(lambda: scored.append(kinds.sklearn_run()))

    facts = sighting.facts
    assert (facts.stage, facts.family, facts.algorithm_name) == (
        "training",
        "classification",
        "SGDClassifier",
    )
    assert (facts.framework, facts.optimizer, facts.precision) == ("scikit-learn", "sgd", "fp64")
    assert facts.parameters == 3 * 4 + 3
    assert facts.epochs is not None and facts.epochs >= 1
    assert [facts.accuracy] == scored
    (data,) = facts.data
    assert (data.items, data.shape, data.source) == (150, "(150, 4)", "public")


def test_a_prediction_alone_is_an_inference() -> None:
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LinearRegression

    rows, labels = kinds.flowers()
    fitted = LinearRegression().fit(rows, labels)

    sighting = seen(lambda: fitted.predict(rows))
    clusters = seen(lambda: KMeans(3, n_init=1).fit_predict(rows))

    assert (sighting.facts.stage, sighting.facts.family, sighting.facts.requests) == (
        "inference",
        "regression",
        1,
    )
    assert (clusters.facts.family, clusters.facts.training_type) == ("clustering", "unsupervisedLearning")


def test_a_keras_model_is_seen() -> None:
    measured: list[float] = []

    sighting = seen(lambda: measured.append(kinds.keras_run(epochs=2)))

    facts = sighting.facts
    assert (facts.stage, facts.family, facts.framework) == ("training", "classification", "keras")
    assert (facts.epochs, facts.optimizer, facts.layers) == (2.0, "Adam", 2)
    assert facts.parameters == 4 * 8 + 8 + 8 * 3 + 3
    assert facts.accuracy == pytest.approx(measured[0])
    assert facts.data == (DataFacts("input", "tabular", 60, 60 * 4 * 4, "(60, 4)"),)
    assert facts.requests is None


def test_the_place_of_a_table_is_its_name_and_not_its_folder(tmp_path: Path) -> None:
    import pandas

    file = tmp_path / "reviews.csv"
    file.write_text("a,b\n1,2\n3,4\n")

    sighting = seen(lambda: pandas.read_csv(file))

    assert sighting.facts.stage == "other"
    (data,) = sighting.facts.data
    assert (data.format, data.source_uri, data.items, data.shape) == ("csv", "file:reviews.csv", 2, "(2, 2)")
    assert data.source is None


def test_code_without_a_model_shows_nothing() -> None:
    observation = Observation().start()
    kinds.generic_run()

    assert observation.stop() is None


def test_everything_is_as_before_afterwards(folder: Path, tmp_path: Path) -> None:
    import keras
    import pandas
    import torch
    import transformers
    from sklearn.base import ClassifierMixin
    from sklearn.pipeline import Pipeline

    def methods() -> list[Any]:
        return [
            torch.Tensor.backward,
            torch.utils.data.DataLoader.__iter__,
            transformers.Trainer.train,
            transformers.Pipeline.__call__,
            transformers.GenerationMixin.generate,
            ClassifierMixin.score,
            vars(Pipeline)["predict"].fn,
            keras.Model.fit,
            "fit" in vars(keras.Model),
            pandas.read_csv,
            len(torch.nn.modules.module._global_forward_hooks),
            len(torch.nn.modules.module._global_forward_pre_hooks),
            list(sys.meta_path),
        ]

    before = methods()
    inside: list[Any] = []
    with pytest.raises(RuntimeError, match="as the test asked"):
        seen(lambda: (inside.extend(methods()), _fail()))

    assert [one == other for one, other in zip(inside, before, strict=True)].count(True) == 0
    assert methods() == before


def test_what_somebody_else_wraps_meanwhile_stays_theirs() -> None:
    from sklearn.linear_model import Ridge

    observation = Observation().start()
    original = Ridge.fit
    theirs = lambda *args, **named: original(*args, **named)  # noqa: E731
    Ridge.fit = theirs
    try:
        observation.stop()
        rows, labels = kinds.flowers()

        assert Ridge.fit is theirs
        assert Ridge().fit(rows, labels).predict(rows).shape == (150,)
    finally:
        Ridge.fit = original.__wrapped__


def test_two_observations_at_once_see_their_own_thread_each() -> None:
    import torch

    both, seen_there = threading.Barrier(2), {}

    def work(size: int) -> None:
        model = torch.nn.Linear(size, 2)
        observation = Observation().start()
        both.wait(20)
        model(torch.zeros(1, size))
        both.wait(20)
        seen_there[size] = observation.stop()

    threads = [threading.Thread(target=work, args=(size,)) for size in (3, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert {size: found.facts.parameters for size, found in seen_there.items()} == {3: 8, 30: 62}


def test_an_object_that_cannot_be_read_fails_no_work() -> None:
    import torch

    class Odd(torch.nn.Linear):
        def parameters(self, recurse: bool = True) -> Any:
            raise OSError("not today")

    odd = Odd(2, 1)
    observation = Observation().start()
    answer = odd(torch.zeros(1, 2))

    assert observation.stop() is None
    assert answer.shape == (1, 1)


def test_a_call_that_fails_is_passed_on_and_the_next_one_is_seen() -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 2))

    def infer() -> None:
        with pytest.raises(RuntimeError):
            model(torch.zeros(1, 3))
        model(torch.zeros(1, 4))

    assert seen(infer).facts.requests == 1


def test_a_library_imported_inside_the_window_is_seen_and_none_is_imported_for_it() -> None:
    code = (
        "import sys\n"
        "from wattbus.ml.observe import Observation\n"
        "idle = Observation().start(); idle.stop()\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'keras', 'pandas'} & set(sys.modules)\n"
        "watching = Observation().start()\n"
        "from sklearn.linear_model import LinearRegression\n"
        "LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])\n"
        "print(heavy or 'none', watching.stop().facts.algorithm_name)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )

    assert (done.stdout.split(), done.stderr) == (["none", "LinearRegression"], "")


def test_shapes_that_vary_become_ranges() -> None:
    tally = Tally()
    tally.add("token", 12, 96, (1, 12))
    tally.add("token", 7, 56, (1, 7))

    assert tally.facts("input") == DataFacts("input", "token", 19, 152, "(1, 7..12)")


def _fail() -> None:
    raise RuntimeError("as the test asked")


CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "acme/Tiny-7B",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Well, thank you."}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 300, "total_tokens": 309},
}


def by_openai(hub: FakeHub) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{hub.endpoint}/models/acme/v1", api_key="none", max_retries=0)
    client.chat.completions.create(model="acme/Tiny-7B", messages=[{"role": "user", "content": "Hello"}])


def by_the_hubs_client(hub: FakeHub) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=f"{hub.endpoint}/models/acme/v1")
    client.chat_completion([{"role": "user", "content": "Hello"}], model="acme/Tiny-7B")


@pytest.mark.parametrize("ask", [by_openai, by_the_hubs_client])
def test_a_call_of_a_model_elsewhere_is_seen_in_tokens_and_its_other_side_estimated(
    ask: Callable[[FakeHub], None],
) -> None:
    with FakeHub() as hub:
        hub.answers["acme/v1/chat/completions"] = (200, CHAT, {})
        sighting = seen(lambda: [ask(hub), ask(hub)])

    facts = sighting.facts
    assert (facts.stage, facts.family, facts.requests) == ("inference", "text-generation", 2)
    assert (facts.foundation_model, facts.parameters) == ("acme/Tiny-7B", 7_000_000_000)
    assert [(data.usage, data.kind, data.items) for data in facts.data] == [
        ("input", "token", 18),
        ("output", "token", 600),
    ]
    assert sighting.remote is not None and sighting.remote.machine.gpus == 1
    assert sighting.remote.estimate.energy_joules is not None


def test_a_call_whose_model_tells_no_size_has_no_estimate_and_says_why() -> None:
    with FakeHub() as hub:
        hub.answers["acme/v1/chat/completions"] = (200, {**CHAT, "model": "gpt-x"}, {})

        def ask() -> None:
            import openai

            client = openai.OpenAI(base_url=f"{hub.endpoint}/models/acme/v1", api_key="none", max_retries=0)
            client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "Hello"}])

        sighting = seen(ask)

    assert sighting.remote is not None
    assert sighting.remote.estimate.energy_joules is None
    assert "parameters" in str(sighting.remote.estimate.reason)
    assert sighting.remote.machine.gpus is None
