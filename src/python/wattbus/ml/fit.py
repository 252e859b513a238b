"""The fitting of a model: the order of batches, precision, checkpoints and progress around one Trainer."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, TrainingFailed
from wattbus.ml.checkpoints import mark_complete
from wattbus.ml.curve import Curve
from wattbus.ml.loading import Loaded
from wattbus.ml.metrics import classification_metrics
from wattbus.ml.precision import has_bf16
from wattbus.ml.train_spec import TrainMetrics
from wattbus.ml.training_options import KEPT_CHECKPOINTS, Value

EPOCHS = 3.0
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
OPTIMISER = "adamw_torch_fused"
EVAL_BATCH = 32
# a checkpoint is three times what is trained: one each fifth of the way, never within this time of the last, and never
# so often that writing them at this many bytes a second takes more than this share of the time
CHECKPOINT_SHARE = 0.2
CHECKPOINT_SECONDS = 10.0
CHECKPOINT_BYTES_A_SECOND = 400e6
CHECKPOINT_COST = 0.05
PROGRESS_SECONDS = 0.2
BF16_PARAMETERS = 5_000_000  # below, the casts cost more than the products save
# batches that are sorted by length together: 8 need a sixth fewer tokens than 2, but batches of one length alone cost
# accuracy while a model is hardly trained (one epoch: 0.42 against 0.50 and, in random order, 0.45; 3 seeds each)
MEGABATCH = 2


@dataclass(frozen=True)
class Course:
    """What one way to train asks for beyond TrainingArguments."""

    loss_weights: Sequence[float] | None = None  # by class
    patience: int | None = None  # evaluations without a better one, after which it ends with the best
    best_metric: str = "accuracy"
    learning_rate: float | None = None  # where the request names none
    after_step: Callable[[int, int], bool] = lambda _step, _total: False  # true ends it there


@dataclass(frozen=True)
class Fitted:
    """What the fitting was."""

    seconds: float
    steps: int
    epochs: float
    optimizer: str
    learning_rate: float
    batch_size: int
    precision: str
    notes: tuple[str, ...]
    total_steps: int = 0


@dataclass
class LengthGroups:
    """Row positions of one epoch: rows of like length share a batch; the same seed and epoch give the same order.

    transformers' own grouping draws from the global generator, so that a resumed run would see other batches.
    """

    lengths: Sequence[int]
    batch_size: int
    group: int  # rows of one optimiser step: batch size times accumulation
    seed: int
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = random.Random(f"{self.seed} {self.epoch}")  # noqa: S311  # an order, not a secret
        rows = list(range(len(self.lengths)))
        chance.shuffle(rows)
        span = self.batch_size * MEGABATCH
        for start in range(0, len(rows), span):
            rows[start : start + span] = sorted(rows[start : start + span], key=lambda row: self.lengths[row])
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        short = [batches.pop()] if len(batches[-1]) < self.batch_size else []  # a short batch must stay last
        chance.shuffle(batches)
        for batch in batches + short:
            yield from batch


def _score(truth: Any, predicted: Any) -> TrainMetrics:
    return classification_metrics(truth.tolist(), predicted.tolist())


def _same_rows(_: int) -> None:
    return


def fit(
    base: Loaded,
    train_rows: Sequence[Mapping[str, Any]],
    test_rows: Sequence[Mapping[str, Any]],
    *,
    arguments: Mapping[str, Value],
    batch_size: int,
    seed: int,
    folder: Path,
    fingerprint: str,
    checkpoint: Path | None,
    curve: Curve,
    progress: Callable[..., None],
    lengths: Sequence[int] | None = None,
    score: Callable[[Any, Any], TrainMetrics] = _score,
    begin_epoch: Callable[[int], None] = _same_rows,
    eval_batch: int = EVAL_BATCH,
    course: Course = Course(),  # frozen
) -> Fitted:
    """Train ``base.model`` in place, from ``checkpoint`` if there is one; TrainingFailed when the loss is no number.

    ``train_rows`` and ``test_rows`` are encoded rows with their truth under ``labels``; ``lengths`` are those of the
    rows that train, by default in tokens. ``score`` compares arrays of truths and of answers. ``begin_epoch`` is told
    the number of each epoch before its first row is asked for.
    """
    from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, set_seed

    arguments = _with_course(arguments, course)
    settings, notes = _settings(base, arguments, batch_size, eval_batch, seed, folder)
    order = LengthGroups(
        lengths=[len(row["input_ids"]) for row in train_rows] if lengths is None else lengths,
        batch_size=settings.per_device_train_batch_size,
        group=settings.per_device_train_batch_size * settings.gradient_accumulation_steps,
        seed=int(settings.data_seed if settings.data_seed is not None else seed),
    )
    saves_by_itself = settings.save_strategy == "no" and arguments.get("save_strategy") != "no"
    rest_seconds = max(CHECKPOINT_SECONDS, _checkpoint_seconds(base.model) / CHECKPOINT_COST)
    last_loss: list[float] = []

    class Fitting(Trainer):  # type: ignore[misc]  # transformers is not typed
        """The Trainer with our order of batches and a look at each loss."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order

        def training_step(self, *given: Any, **named: Any) -> Any:
            loss = super().training_step(*given, **named)
            last_loss[:] = [loss.item()]
            if not math.isfinite(last_loss[0]):
                raise _diverged(self.state.global_step + 1, settings.learning_rate)
            return loss

    class Watch(TrainerCallback):  # type: ignore[misc]
        """Tells progress, decides when to save, and marks what is saved."""

        def __init__(self) -> None:
            self.told = -math.inf
            self.saved = time.monotonic()

        def on_epoch_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            order.epoch = state.global_step // math.ceil(len(order) / order.group)
            begin_epoch(order.epoch)

        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            now, step, total = time.monotonic(), state.global_step, state.max_steps
            curve.loss(step, total, last_loss[0])
            if now - self.told >= PROGRESS_SECONDS or step == total:
                self.told = now
                progress("training", step=step, total=total, loss=last_loss[0], epoch=state.epoch)
            is_due = step % max(1, math.floor(total * CHECKPOINT_SHARE)) == 0 and step < total
            if saves_by_itself and is_due and now - self.saved >= rest_seconds:
                control.should_save = True
            if course.after_step(step, total):
                control.should_training_stop = True

        def on_evaluate(self, _args: Any, state: Any, _control: Any, metrics: Any = None, **_: Any) -> None:
            curve.evaluation(state.global_step, state.max_steps, metrics or {})

        def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            mark_complete(folder / f"checkpoint-{state.global_step}", fingerprint)
            self.saved = time.monotonic()
            progress(f"checkpoint at step {state.global_step}", step=state.global_step, total=state.max_steps)

    trainer = Fitting(
        model=base.model,
        args=settings,
        train_dataset=train_rows,
        eval_dataset=test_rows,
        processing_class=base.reader,
        data_collator=base.collate,
        compute_metrics=lambda evaluated: score(evaluated.label_ids, evaluated.predictions).measured(),
        preprocess_logits_for_metrics=_answers,
        compute_loss_func=None
        if course.loss_weights is None
        else _weighted_loss(course.loss_weights, settings.label_smoothing_factor),
        callbacks=[Watch(), *([EarlyStoppingCallback(course.patience)] if course.patience else [])],
    )
    set_seed(seed)
    begun = time.monotonic()
    try:
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except MemoryError as error:
        raise _out_of_memory(settings) from error
    except RuntimeError as error:
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(settings) from error
    seconds = time.monotonic() - begun
    if not all(bool(parameter.isfinite().all()) for parameter in base.model.parameters()):
        raise _diverged(trainer.state.global_step, settings.learning_rate)
    return Fitted(
        seconds=seconds,
        steps=int(outcome.global_step),
        epochs=float(trainer.state.epoch or 0.0),
        optimizer=str(getattr(settings.optim, "value", settings.optim)),
        learning_rate=float(settings.learning_rate),
        batch_size=int(settings.per_device_train_batch_size),
        precision="bf16" if settings.bf16 else "fp32",
        notes=notes,
        total_steps=int(trainer.state.max_steps),
    )


def default_learning_rate(hidden_size: int | None) -> float:
    """Return the learning rate for an encoder of this width: narrow ones take, and need, larger steps.

    Measured on 512 reviews with a width of 384: 3e-4 did better than 2e-4 with each of four seeds; 5e-4 broke
    down.
    """
    if hidden_size is None or hidden_size > 512:
        return 5e-5
    return 3e-4 if hidden_size <= 384 else 1e-4


def _checkpoint_seconds(model: Any) -> float:
    """Return how long writing a checkpoint is likely to take: all weights, and two numbers for each that is trained."""
    weights = [(one.numel() * one.element_size(), one.requires_grad) for one in model.parameters()]
    size = sum(size * (3 if trained else 1) for size, trained in weights)
    return float(size / CHECKPOINT_BYTES_A_SECOND)


def _with_course(arguments: Mapping[str, Value], course: Course) -> Mapping[str, Value]:
    """Return the arguments with what the course needs of them; BadRequest where they forbid it."""
    added: dict[str, Value] = {}
    if course.learning_rate is not None:
        added["learning_rate"] = course.learning_rate
    if course.patience is None:
        return {**added, **arguments}
    if arguments.get("eval_strategy") == "no" or arguments.get("load_best_model_at_end") is False:
        raise BadRequest(
            "early_stopping_patience needs evaluations on the way and keeps the best version: leave eval_strategy=no "
            "and load_best_model_at_end=false out."
        )
    added |= {
        "eval_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": course.best_metric,
    }
    return {**added, **arguments}


def _weighted_loss(weights: Sequence[float], smoothing: float) -> Callable[..., Any]:
    """Return the cross entropy with a weight by class, as the Trainer calls it."""
    import torch

    by_class = torch.tensor(list(weights), dtype=torch.float32)

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        each = torch.nn.functional.cross_entropy(
            outputs.logits.float(),
            labels,
            weight=by_class.to(labels.device),
            label_smoothing=smoothing,
            reduction="sum",
        )
        return each / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return loss


def _settings(
    base: Loaded, arguments: Mapping[str, Value], batch_size: int, eval_batch: int, seed: int, folder: Path
) -> tuple[Any, tuple[str, ...]]:
    """Return the TrainingArguments: ours, then those of the request."""
    from transformers import TrainingArguments

    precision, notes = _bf16(base, arguments)
    chosen: dict[str, Any] = {
        "num_train_epochs": EPOCHS,
        "learning_rate": default_learning_rate(getattr(base.model.config, "hidden_size", None)),
        "warmup_steps": WARMUP_SHARE,
        "weight_decay": WEIGHT_DECAY,
        "optim": OPTIMISER,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": eval_batch,
        "seed": seed,
        "logging_steps": 0.05,
        "save_strategy": "steps" if "save_steps" in arguments else "no",  # "no": Watch decides
        "save_total_limit": KEPT_CHECKPOINTS,
    }
    if arguments.get("eval_strategy") == "steps":
        chosen["eval_steps"] = CHECKPOINT_SHARE
    if arguments.get(
        "load_best_model_at_end"
    ):  # the best can only be kept where it was both saved and evaluated
        chosen["save_strategy"] = arguments.get("eval_strategy", "no")
        chosen["save_steps"] = arguments.get("eval_steps", CHECKPOINT_SHARE)
    if arguments.get("save_strategy") == "steps" and "save_steps" not in chosen:
        chosen["save_steps"] = CHECKPOINT_SHARE
    chosen.update(arguments)
    try:
        settings = TrainingArguments(
            output_dir=str(folder),
            **{**chosen, "bf16": precision, "use_cpu": _on_cpu(arguments)},
            report_to="none",
            disable_tqdm=True,
            logging_nan_inf_filter=False,
            dataloader_pin_memory=False,
            push_to_hub=False,
        )
    except ValueError as error:
        raise BadRequest(f"these training options do not go together: {error}") from error
    return settings, notes


def _bf16(base: Loaded, arguments: Mapping[str, Value]) -> tuple[bool, tuple[str, ...]]:
    """Return whether to compute in bf16: asked for, or a gain for this model, and in the processor."""
    native = has_bf16("cpu" if _on_cpu(arguments) else "cuda")
    asked = arguments.get("bf16")
    if asked and not native:
        return False, ("this processor has no bf16 arithmetic: the training ran in fp32.",)
    if asked is not None:
        return bool(asked), ()
    return native and base.parameters >= BF16_PARAMETERS, ()


def _on_cpu(arguments: Mapping[str, Value]) -> bool:
    import torch

    return bool(arguments.get("use_cpu")) or not torch.cuda.is_available()


def _answers(logits: Any, _: Any) -> Any:
    """Return the answer of each place: all the scores of a vocabulary would not fit into memory."""
    return (logits[0] if isinstance(logits, tuple) else logits).argmax(-1)


def _diverged(step: int, learning_rate: float) -> TrainingFailed:
    return TrainingFailed(
        f"the loss was no number any more at step {step}: the training diverged. The learning rate is "
        f"{learning_rate:g}; try {default_learning_rate(768):g}. Nothing was staged."
    )


def _out_of_memory(settings: Any) -> TrainingFailed:
    size = settings.per_device_train_batch_size
    return TrainingFailed(
        f"the memory did not suffice for batches of {size} rows: set per_device_train_batch_size to "
        f"{max(1, size // 2)} and gradient_accumulation_steps to 2, or use a smaller model."
    )
