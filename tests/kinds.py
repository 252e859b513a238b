"""One run of each kind of work that a report describes by itself, small and on a CPU, as a user would write it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tinymodels

os.environ["KERAS_BACKEND"] = "torch"  # read when keras is imported

TEXTS = tuple(tinymodels.SENTENCES[:8])


def pipeline_run(folder: Path) -> Any:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), device="cpu")
    return classify([TEXTS[0], TEXTS[1]], top_k=None)


def trainer_run(folder: Path, run_folder: Path) -> Any:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    rows = [
        {**tokenizer(text), "labels": number % model.config.num_labels} for number, text in enumerate(TEXTS)
    ]
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


def generic_run() -> int:
    return sum(number * number for number in range(200_000))


def flowers() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    rows, labels = load_iris(return_X_y=True)
    return rows, labels
