"""How many fields are filled for real runs on a CPU, with no organisation file and no input of a user."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from boamps_samples import official_schemas, record
from wattbus.energy.hardware import read_machine
from wattbus.energy.record import DataFacts, EnergyRecord, TaskFacts, TrackerFacts
from wattbus.export.boamps import BoampsReport, ReportInput, build_report, write_report
from wattbus.export.boamps_model import validate
from wattbus.export.organisation import Organisation

# What the model store's manifest says of a version that came from a hub.
REPOSITORY, COMMIT = "acme/tiny-bert", "0123456789abcdef0123456789abcdef01234567"
PAGE = f"https://huggingface.co/{REPOSITORY}"
TEXTS = tuple(sentence for sentence in tinymodels.SENTENCES[:8])


def tracker() -> TrackerFacts:
    """Return what the ledger says of codecarbon on a CPU without RAPL."""
    return TrackerFacts(
        method="codecarbon",
        version=importlib.metadata.version("codecarbon"),
        cpu_mode="cpu load",
        cpu_utilisation=0.55,
        calibration_joules=40.0,
        calibration_seconds=5.0,
    )


def model_facts(model: Any) -> dict[str, Any]:
    """Read from a transformers model what an operation states of it."""
    import transformers

    return {
        "algorithm_type": "neural network",
        "algorithm_name": model.config.architectures[0],
        "algorithm_uri": f"{PAGE}/tree/{COMMIT}",
        "foundation_model": REPOSITORY,
        "foundation_model_uri": PAGE,
        "parameters": model.num_parameters(),
        "framework": "transformers",
        "framework_version": transformers.__version__,
        "class_path": f"{type(model).__module__}.{type(model).__qualname__}",
        "layers": model.config.num_hidden_layers,
        "precision": {"torch.float32": "fp32", "torch.bfloat16": "bf16"}[str(model.dtype)],
    }


def metered(work: Callable[[], Any]) -> tuple[Any, EnergyRecord]:
    """Do the work and return its result with a settled record, 10 W of it being the processor's."""
    started_at_us, began, cpu = time.time_ns() // 1000, time.perf_counter(), time.process_time()
    result = work()
    seconds = time.perf_counter() - began
    row = record(
        started_at_us=started_at_us,
        duration_seconds=seconds,
        cpu_seconds=min(time.process_time() - cpu, seconds),
        energy_joules=10.0 * seconds,
        low_joules=1.0 * seconds,
        high_joules=20.0 * seconds,
        model=REPOSITORY,
        revision=COMMIT,
    )
    return result, row


def report_of(row: EnergyRecord, facts: TaskFacts, organisation: Organisation | None = None) -> BoampsReport:
    source = ReportInput(
        records=(replace(row, facts=facts),),
        facts=facts,
        machine=replace(read_machine(), gpus=()),
        tracker=tracker(),
        organisation=organisation or Organisation(),
        production="Sustainable.Production",
    )
    return build_report(source)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.build("text-classification", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pipeline_run(model_folder: Path) -> tuple[EnergyRecord, TaskFacts]:
    from transformers import pipeline

    pipe = pipeline("text-classification", model=str(model_folder), device="cpu")
    text = TEXTS[0]
    answers, row = metered(lambda: pipe(text, top_k=None))
    tokens = len(pipe.tokenizer(text)["input_ids"])
    asked, answered = len(text.encode()), len(json.dumps(answers).encode())
    facts = TaskFacts(
        stage="inference",
        family=pipe.task,
        requests=1,
        data=(
            DataFacts("input", "text", 1, asked, f"(1, {tokens})", "json", "private"),
            DataFacts("output", "object", len(answers), answered, f"(1, {len(answers)})", "json", "private"),
        ),
        **model_facts(pipe.model),
    )
    return row, facts


@pytest.fixture(scope="module")
def training_run(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EnergyRecord, TaskFacts]:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    rows = [
        {**tokenizer(text), "labels": number % model.config.num_labels} for number, text in enumerate(TEXTS)
    ]
    arguments = TrainingArguments(
        output_dir=str(tmp_path_factory.mktemp("run")),
        num_train_epochs=1,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )

    def accuracy(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = Trainer(
        model,
        arguments,
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=accuracy,
    )
    _, row = metered(trainer.train)
    measured = trainer.evaluate()["eval_accuracy"]
    size = sum(len(text.encode()) for text in TEXTS)
    facts = TaskFacts(
        stage="finetuning",
        family="text-classification",
        training_type="transferLearning",
        epochs=trainer.state.epoch,
        optimizer=str(getattr(trainer.args.optim, "value", trainer.args.optim)),
        accuracy=measured,
        data=(
            DataFacts(
                "input", "text", len(TEXTS), size, f"({len(TEXTS)}, 2)", "sql", "private",
                "sqlite:////home/somebody/.wattbus/tables.sqlite#Review",
            ),
        ),
        **model_facts(trainer.model),
    )  # fmt: skip
    return row, facts


def test_a_real_pipeline_on_a_cpu_fills_53_fields_or_more_unasked(
    pipeline_run: tuple[EnergyRecord, TaskFacts], tmp_path: Path
) -> None:
    report = report_of(*pipeline_run)

    assert report.score.filled >= 53, report.score.missing
    assert validate(report.document) == []
    text = write_report(report, tmp_path).read_text(encoding="utf-8")
    assert TEXTS[0] not in text


def test_a_real_fine_tune_on_a_cpu_fills_58_fields_or_more_unasked(
    training_run: tuple[EnergyRecord, TaskFacts], tmp_path: Path
) -> None:
    report = report_of(*training_run)

    assert report.score.filled >= 58, report.score.missing
    assert validate(report.document) == []
    text = write_report(report, tmp_path).read_text(encoding="utf-8")
    assert not [sentence for sentence in (*TEXTS, "somebody") if sentence in text]


def test_both_reports_are_valid_by_the_official_schemas(
    pipeline_run: tuple[EnergyRecord, TaskFacts], training_run: tuple[EnergyRecord, TaskFacts]
) -> None:
    judge = official_schemas()

    for run in (pipeline_run, training_run):
        assert judge.faults(report_of(*run).document) == []


def test_the_organisations_answers_lift_them_to_60_and_65(
    pipeline_run: tuple[EnergyRecord, TaskFacts], training_run: tuple[EnergyRecord, TaskFacts]
) -> None:
    organisation = Organisation(
        name="Acme",
        division="Lab",
        licence="CC BY 4.0",
        estimated_accuracy="good",
        country="France",
        location="Paris",
        latitude=48.8,
        longitude=2.3,
        power_supplier="public",
        power_source="nuclear",
        carbon_intensity_g_per_kwh=50,
    )

    pipeline_report = report_of(*pipeline_run, organisation)
    training_report = report_of(*training_run, organisation)

    assert pipeline_report.score.filled >= 60
    assert training_report.score.filled >= 65
