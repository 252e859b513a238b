"""TuningOperation: fine-tunes a model on rows of a SQL table, and publishes the result when told to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from iop import BusinessOperation

from wattbus import killpoints
from wattbus.energy.attempt_window import current_window
from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.errors import BadSettings, Cancelled, Refused, TrainingFailed, TrainingKilled
from wattbus.messages import ChangedExample, OverrideRequest, OverrideResponse, TrainRequest, TrainResponse
from wattbus.operations.metered import Metered
from wattbus.operations.place import model_store, page_of, tables_url, training_tables
from wattbus.operations.turns import Turns
from wattbus.runtime import context

if TYPE_CHECKING:
    from wattbus.ml.models import ModelVersion
    from wattbus.ml.train_spec import TrainProgress, TrainResult, TrainSpec


SECONDS_BETWEEN_STEP_LINES = 3.0


class TuningOperation(Metered, BusinessOperation):
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
        stopping = context.place().stopping.is_set
        cancelled: list[str] = []

        def over() -> bool:
            return bool(cancelled) or stopping()

        def fetching(text: str) -> None:
            if over():
                raise _ended("its model was still being fetched", cancelled)
            self.log_info(text)

        with context.on_cancel(cancelled.append):
            self._models.ensure(self.model_name, model_url=self.model_url or None, progress=fetching)
            with self._turns().taken(_message_name(), ahead=self._tell_ahead, over=over) as mine:
                if not mine or over():
                    raise _ended("it had not begun", cancelled)
                old = self._models.with_weights(self.model_name)
                spec = self._spec(request, old)
                training_tables(self.tables).resolve(spec.table, spec.columns)
                result = self._trained(spec, cancelled, over)
                new = self._stage(result, old, spec)
        current_window().describe(
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
        version = self._published()
        replaced = self._models.previous(self.model_name)
        current_window().describe(kind="publishing", model=self.model_name, revision=version.id)
        self.log_info(f"model {self.model_name}: {version.id} is published and replaces {replaced or 'none'}")
        return OverrideResponse(
            model=self.model_name,
            version=version.id,
            replaced=replaced,
            note=f"roll back with `wattbus models rollback {self.model_name}`",
        )

    def _published(self) -> ModelVersion:
        """Publish what is staged, once a message: an attempt that died after it had published is not repeated."""
        now, by = context.current(), _message_name()
        if now is not None and now.attempt > 1 and self._models.published_by(self.model_name) == by:
            self.log_info(
                "an earlier attempt had published it before it was cut off: nothing is published again"
            )
            return self._models.current(self.model_name)
        training = self._turns().names
        if training:
            raise Refused(
                f"the model {self.model_name} is being fine-tuned ({training[0]}): nothing was published; wait for its "
                f"end, or cancel it, and send the OverrideRequest again."
            )
        self._models.current(self.model_name)
        if killpoints.ARMED:
            killpoints.reached("override.before-publish")
        version = self._models.publish(self.model_name, by=by)
        if killpoints.ARMED:
            killpoints.reached("override.after-publish")
        return version

    def _turns(self) -> Turns:
        """Return the queue of the trainings of this model: one at a time, whatever the size of the pool."""
        return context.place().resources.get(("training", self.model_name), Turns)

    def _tell_ahead(self, ahead: tuple[str, ...]) -> None:
        """Say which place in that queue the training in hand has."""
        text = f"waits for its turn, number {len(ahead)} in the queue: the model {self.model_name} is being fine-tuned"
        context.tell_progress(text)
        self.log_info(f"{text} ({', then '.join(ahead)})")

    def _trained(self, spec: TrainSpec, cancelled: list[str], over: Callable[[], bool]) -> TrainResult:
        """Train, and turn what ended the training into what becomes of the message."""
        from wattbus.ml import trainer

        earlier = trainer.take_over(spec)
        if earlier is not None:
            self.log_info(f"the training goes on with what is left of {earlier.name}, which was the same")
        window = current_window()
        try:
            result = trainer.train(
                spec,
                on_progress=self._tell,
                on_child=window.watch_child,
                on_cpu_seconds=window.add_child_cpu_seconds,
                joules=lambda exact: window.joules_so_far(exact=exact),
                cancelled=over,
            )
        except TrainingKilled as error:
            if over():
                raise _ended(str(error), cancelled) from error
            window.cut_off()
            raise context.WorkerLost(str(error)) from error
        except TrainingFailed as error:
            if over():
                raise _ended(str(error), cancelled) from error
            raise
        self._tell_resumed(result)
        if len(result.ladder.rungs) > 1:
            self.log_info(result.ladder.outcome)
        return result

    def _spec(self, request: TrainRequest, old: ModelVersion) -> TrainSpec:
        from wattbus.ml.train_spec import TrainSpec

        now = context.current()
        name = f"message-{now.message_id}" if now is not None else "run"
        return TrainSpec(
            model_folder=old.path,
            table_url=self.tables or tables_url(),
            table=request.table,
            objective=request.objective,
            train_tokenizer=request.train_tokenizer,
            columns=request.columns,  # type: ignore[arg-type]
            limit=request.limit,
            p_of_train=request.p_of_train,
            num_labels=self.num_labels or None,
            run_folder=context.place().home.runs / name,
            options=request.options(),
            uploads=context.place().home.uploads,
            method=request.method,
            target=request.target,
            target_metric=request.target_metric,
            energy_budget_wh=request.energy_budget_wh,
            class_weights=request.class_weights,  # type: ignore[arg-type]
            early_stopping_patience=request.early_stopping_patience,
            engine_folder=self._engine(old),
            features_file=context.place().home.features_file,
        )

    def _engine(self, old: ModelVersion) -> Path | None:
        """Return the live version where it is an optimised form of the one that is trained."""
        live = self._models.current(self.model_name)
        return None if live.id == old.id else live.path

    def _stage(self, result: TrainResult, old: ModelVersion, spec: TrainSpec) -> ModelVersion:
        from wattbus.ml.objectives.known import find_objective

        now = context.current()

        def build(folder: Path) -> None:
            shutil.copytree(result.model_folder, folder, dirs_exist_ok=True)

        return self._models.stage(
            self.model_name,
            build,
            source="fine-tuning",
            parent=old.id,
            licence=old.licence,
            metrics=result.new_metrics.measured(),
            facts={
                "objective": spec.objective,
                "task": find_objective(spec.objective).task,
                "table": spec.table,
                "columns": list(spec.columns),
                "train_rows": result.train_rows,
                "method": result.ladder.chosen,
                "message_id": None if now is None else now.message_id,
            },
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


def _message_name() -> str:
    now = context.current()
    return "a training outside of a production" if now is None else f"message {now.message_id}"


def _ended(how: str, cancelled: list[str]) -> Exception:
    """Return what to raise where a training was ended: by somebody, or by the stop of the production."""
    if cancelled:
        return Cancelled(f"cancelled by {cancelled[0]}: {how}")
    return context.PutBack("the production stops; the training resumes with the next start")


def _response(result: TrainResult, old: ModelVersion, new: ModelVersion) -> TrainResponse:
    from wattbus.ml.objectives.known import find_objective

    notes = list(result.notes)
    if result.old_note:
        notes.append(result.old_note)
    if result.resumed_from_step is not None:
        notes.append(f"resumed from the checkpoint of step {result.resumed_from_step}")
    if result.dropped_rows:
        notes.append(f"{result.dropped_rows} rows in which a column is empty were left out")
    return TrainResponse(
        model=new.name,
        old_version=old.id,
        new_version=new.id,
        old_metrics=result.old_metrics.measured(),
        new_metrics=result.new_metrics.measured(),
        labels=list(result.labels),
        train_rows=result.train_rows,
        test_rows=result.test_rows,
        changed_predictions=result.changed_predictions,
        changed_examples=[ChangedExample(**one.model_dump()) for one in result.changed_examples],
        seconds=result.seconds,
        notes=notes,
        objective=result.objective,
        task=find_objective(result.objective).task,
        ladder=result.ladder,
    )


def _task_facts(result: TrainResult, model: str, page: str | None, spec: TrainSpec) -> TaskFacts:
    from wattbus.ml.objectives.known import find_objective
    from wattbus.ml.tables import parse_url

    objective = find_objective(result.objective)
    rows = result.train_rows + result.test_rows
    return TaskFacts(
        stage="finetuning",
        family=objective.family,
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
                kind=objective.reads,
                items=rows,
                bytes=result.dataset_bytes,
                shape=f"({rows}, {len(spec.columns)})",
                format="sql",
                source="private",
                source_uri=f"{parse_url(spec.table_url).render_as_string(hide_password=True)}#{spec.table}",
            ),
        ),
    )
