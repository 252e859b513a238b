"""One run of each kind of work that a report describes by itself, small and on a CPU, as a user would write it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import tinymodels
from fakehub import FakeHub

os.environ["KERAS_BACKEND"] = "torch"  # read when keras is imported

TEXTS = tuple(tinymodels.SENTENCES[:8])


REPOSITORY, COMMIT = "acme/tiny-bert", "0123456789abcdef0123456789abcdef01234567"


def cached(folder: Path, cache: Path) -> Path:
    """Lay a model folder into a cache as the Hub's client does when it has fetched it."""
    repository = cache / ("models--" + REPOSITORY.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    return cache


def pipeline_run(folder: Path) -> Any:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), device="cpu")
    return classify([TEXTS[0], TEXTS[1]], top_k=None)


def cached_model(cache: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    options = {"cache_dir": str(cache), "local_files_only": True}
    model = AutoModelForSequenceClassification.from_pretrained(REPOSITORY, **options)
    return model, AutoTokenizer.from_pretrained(REPOSITORY, **options)


def hub_pipeline_run(cache: Path) -> Any:
    from transformers import pipeline

    model, tokenizer = cached_model(cache)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    return [classify(text, top_k=None) for text in TEXTS[:2]]


def reviews(folder: Path) -> Path:
    """Write the texts as a table and return its file."""
    file = folder / "reviews.csv"
    file.write_text("text,stars\n" + "".join(f'"{text}",{number % 5}\n' for number, text in enumerate(TEXTS)))
    return file


def trainer_run(cache: Path, table: Path, run_folder: Path) -> Any:
    import pandas
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, tokenizer = cached_model(cache)
    rows = [{**tokenizer(row.text), "labels": row.stars} for row in pandas.read_csv(table).itertuples()]
    arguments = TrainingArguments(
        output_dir=str(run_folder),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model,
        arguments,
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())
        },
    )
    trainer.train()
    return trainer.evaluate()["eval_accuracy"]


def torch_run(epochs: int = 3) -> None:
    import torch
    from torch import nn

    rows, labels = torch.randn(100, 8), torch.randint(0, 3, (100,))
    data = torch.utils.data.TensorDataset(rows, labels)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer, loss = torch.optim.AdamW(model.parameters()), nn.CrossEntropyLoss()
    for _ in range(epochs):
        for batch, answers in torch.utils.data.DataLoader(data, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            loss(model(batch), answers).backward()
            optimizer.step()


def sklearn_run() -> float:
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = flowers()
    model = make_pipeline(StandardScaler(), SGDClassifier(random_state=1)).fit(rows, labels)
    return float(model.score(rows, labels))


def keras_run(epochs: int = 2) -> float:
    import keras
    import numpy

    rows = numpy.random.default_rng(1).random((60, 4), dtype="float32")
    labels = (rows[:, 0] * 3).astype("int64")
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(rows, labels, epochs=epochs, verbose=0, validation_data=(rows, labels))
    return float(model.evaluate(rows, labels, verbose=0)[1])


def remote_run(hub: FakeHub) -> str:
    from huggingface_hub import InferenceClient

    hub.answers["acme/Tiny-7B"] = (200, [{"generated_text": "Very well, thank you for asking me."}], {})
    client = InferenceClient(model=f"{hub.endpoint}/models/acme/Tiny-7B")
    return str(client.text_generation("How are you?"))


def generic_run() -> int:
    return sum(number * number for number in range(200_000))


def flowers() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    rows, labels = load_iris(return_X_y=True)
    return rows, labels
