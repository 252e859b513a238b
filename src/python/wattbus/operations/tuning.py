"""TuningOperation: fine-tunes a model on rows of a SQL table, and publishes the result when told to."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from iop import BusinessOperation

from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.energy.window import current_window
from wattbus.errors import BadSettings, TrainingFailed
from wattbus.messages import OverrideRequest, OverrideResponse, TrainRequest, TrainResponse
from wattbus.operations.place import model_store, page_of, tables_url, training_tables
from wattbus.runtime import context

if TYPE_CHECKING:
    from wattbus.ml.models import ModelVersion
    from wattbus.ml.train_spec import TrainProgress, TrainResult, TrainSpec


SECONDS_BETWEEN_STEP_LINES = 3.0


class TuningOperation(BusinessOperation):
    """Trains in a child process; the result is staged and never live before an OverrideRequest.

    ``path`` may name a folder of models that the user brings, ``tables`` the database of the training rows.
    """

    model_name: str = ""
    model_url: str = ""
    path: str = ""
    num_labels: int | None = None
    tables: str = ""
    _next_step_line = 0.0

    def on_init(self) -> None:
        """Look at the settings; the model is fetched with the first request that needs it."""
        if not self.model_name:
            raise BadSettings(
                "TuningOperation needs the setting model_name, such as model_name=bert-base-cased."
            )
        self._models = model_store(self.path)

    def train(self, request: TrainRequest) -> TrainResponse:
        """Fine-tune the published version, compare old and new on the same rows, and stage the new one."""
        from wattbus.ml import trainer

        self._models.ensure(self.model_name, model_url=self.model_url or None, progress=self.log_info)
        with self._turn():
            old = self._models.open_verified(self.model_name)
            spec = self._spec(request, old)
            training_tables(self.tables).resolve(spec.table, spec.columns)
            window = current_window()
            stopping = context.place().stopping.is_set
            try:
                result = trainer.train(
                    spec, on_progress=self._tell, on_child=window.watch_child, cancelled=stopping
                )
            except TrainingFailed as error:
                if stopping():
                    raise context.PutBack(
                        "the production stops; the training resumes with the next start"
                    ) from error
                raise
            if result.cpu_seconds is not None:
                window.add_child_cpu_seconds(result.cpu_seconds)
            self._tell_resumed(result)
            new = self._stage(result, old, spec)
        window.describe(
            kind="fine-tuning",
            model=self.model_name,
            revision=new.id,
            facts=_task_facts(result, old.name, page_of(self._models, old), spec),
        )
        # The result stays until the message has ended: a crash from here on costs no second training.
        shutil.rmtree(spec.run_folder / "checkpoints", ignore_errors=True)
        self.log_info(f"model {self.model_name}: {new.id} is staged; send an OverrideRequest to publish it")
        return _response(result, old, new)

    def override(self, request: OverrideRequest) -> OverrideResponse:
        """Publish the staged version; the replaced one stays and can be rolled back to."""
        replaced = self._models.current(self.model_name)
        version = self._models.publish(self.model_name)
        current_window().describe(kind="publishing", model=self.model_name, revision=version.id)
        self.log_info(f"model {self.model_name}: {version.id} is published and replaces {replaced.id}")
        return OverrideResponse(
            model=self.model_name,
            version=version.id,
            replaced=replaced.id,
            note=f"roll back with `wattbus models rollback {self.model_name}`",
        )

    def _turn(self) -> threading.Lock:
        """One training a model at a time; the others wait their turn."""
        lock = context.place().resources.get(("training", self.model_name), threading.Lock)
        if lock.locked():
            self.log_info(f"another training of {self.model_name} is under way: this one waits for it")
        return lock

    def _spec(self, request: TrainRequest, old: ModelVersion) -> TrainSpec:
        from wattbus.ml.train_spec import TrainSpec

        now = context.current()
        name = f"message-{now.message_id}" if now is not None else "run"
        return TrainSpec(
            model_folder=old.path,
            table_url=self.tables or tables_url(),
            table=request.table,
            columns=request.columns,  # type: ignore[arg-type]
            limit=request.limit,
            p_of_train=request.p_of_train,
            num_labels=self.num_labels or None,
            run_folder=context.place().home.runs / name,
            options=request.options(),
        )

    def _stage(self, result: TrainResult, old: ModelVersion, spec: TrainSpec) -> ModelVersion:
        def build(folder: Path) -> None:
            shutil.copytree(result.model_folder, folder, dirs_exist_ok=True)

        return self._models.stage(
            self.model_name,
            build,
            source="fine-tuning",
            parent=old.id,
            licence=old.licence,
            metrics=result.new_metrics.model_dump(),
            facts={"table": spec.table, "columns": list(spec.columns), "train_rows": result.train_rows},
            note=f"fine-tuned from {old.id} on {result.train_rows} rows of {spec.table}",
        )

    def _tell_resumed(self, result: TrainResult) -> None:
        now = context.current()
        if result.resumed_from_step is not None:
            self.log_info(f"the training resumed from the checkpoint of step {result.resumed_from_step}")
        elif now is not None and now.attempt > 1:
            self.log_info("the training restarted from the beginning: no checkpoint was complete")

    def _tell(self, progress: TrainProgress) -> None:
        """Pass progress on; the event log gets each stage, and a step now and then."""
        context.tell_progress(progress.stage, progress.step, progress.total)
        if progress.step is None:
            self.log_info(progress.stage)
        elif progress.loss is not None and time.monotonic() >= self._next_step_line:
            self._next_step_line = time.monotonic() + SECONDS_BETWEEN_STEP_LINES
            self.log_info(
                f"{progress.stage}, step {progress.step} of {progress.total}, loss {progress.loss:.4f}"
            )


def _response(result: TrainResult, old: ModelVersion, new: ModelVersion) -> TrainResponse:
    notes = list(result.notes)
    if result.old_note:
        notes.append(result.old_note)
    if result.resumed_from_step is not None:
        notes.append(f"resumed from the checkpoint of step {result.resumed_from_step}")
    if result.dropped_rows:
        notes.append(f"{result.dropped_rows} rows without label or text were left out")
    return TrainResponse(
        model=new.name,
        old_version=old.id,
        new_version=new.id,
        old_metrics=result.old_metrics.model_dump(),
        new_metrics=result.new_metrics.model_dump(),
        labels=list(result.labels),
        train_rows=result.train_rows,
        test_rows=result.test_rows,
        changed_predictions=result.changed_predictions,
        seconds=result.seconds,
        notes=notes,
    )


def _task_facts(result: TrainResult, model: str, page: str | None, spec: TrainSpec) -> TaskFacts:
    from wattbus.ml.tables import parse_url

    rows = result.train_rows + result.test_rows
    return TaskFacts(
        stage="finetuning",
        family="textClassification",
        algorithm_type="neural network",
        algorithm_name=result.class_path.rpartition(".")[2],
        algorithm_uri=page,
        foundation_model=model,
        foundation_model_uri=page,
        parameters=result.parameters,
        framework=result.framework,
        framework_version=result.framework_version,
        class_path=result.class_path,
        layers=result.layers,
        epochs=result.epochs,
        optimizer=result.optimizer,
        precision=result.precision,
        training_type="transferLearning",
        accuracy=result.new_metrics.accuracy,
        data=(
            DataFacts(
                usage="input",
                kind="text",
                items=rows,
                bytes=result.dataset_bytes,
                shape=f"({rows}, 2)",
                format="sql",
                source="private",
                source_uri=f"{parse_url(spec.table_url).render_as_string(hide_password=True)}#{spec.table}",
            ),
        ),
    )
