"""OptimiseOperation: converts a model to a faster engine, compares it on the user's rows, and stages it if it pays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from iop import BusinessOperation

from wattbus.config import read_config
from wattbus.energy.attempt_window import current_window
from wattbus.energy.record import TaskFacts
from wattbus.errors import BadRequest, BadSettings, Cancelled, OptimisingFailed, OptimisingKilled
from wattbus.home import Home
from wattbus.messages import OptimisedCandidate, OptimiseRequest, OptimiseResponse
from wattbus.ml import run_folders
from wattbus.operations import optimise_inputs
from wattbus.operations.metered import Metered
from wattbus.operations.place import model_store, page_of, tables_beside, training_tables
from wattbus.operations.turns import Turns
from wattbus.runtime import context
from wattbus.store.database import open_engine

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore, ModelVersion
    from wattbus.ml.optimise_spec import OptimiseResult, OptimiseSpec
    from wattbus.ml.pipeline_tasks import Task


class OptimiseOperation(Metered, BusinessOperation):
    """Converts and compares in a child process; what passes the gate is staged, and live after an OverrideRequest.

    ``task`` is the one that the model is served for; ``memory_limit_mb`` ends a child that needs more.
    """

    name: str = ""
    model_url: str = ""
    task: str = ""
    path: str = ""
    tables: str = ""
    memory_limit_mb: int | None = None

    def on_init(self) -> None:
        """Look at the settings; the model is fetched with the first request that needs it."""
        from wattbus.ml.pipeline_tasks import find_task

        if not self.name or not self.task:
            raise BadSettings(
                "OptimiseOperation needs the settings name and task, such as name=all-MiniLM-L6-v2 and "
                "task=text-classification."
            )
        find_task(self.task)
        self._models = model_store(self.path)

    def optimise(self, request: OptimiseRequest) -> OptimiseResponse:
        """Convert the published version, compare, and stage the best candidate that passes the gate."""
        from wattbus.ml.pipeline_tasks import find_task

        cancelled: list[str] = []
        task = find_task(self.task)
        with context.on_cancel(cancelled.append):
            self._models.ensure(self.name, model_url=self.model_url or None, progress=self.log_info)
            version = self._models.with_weights(self.name)
            spec = self._spec(request, version, task)
            result, made = self._made(spec, version, compared_on(request), cancelled)
        current_window().describe(
            kind="optimising",
            model=self.name,
            revision=(made or version).id,
            facts=_task_facts(result, version.name, page_of(self._models, version), task.family),
        )
        if made is not None:
            self.log_info(f"model {self.name}: {made.id} is staged; send an OverrideRequest to publish it")
        else:
            self.log_info(f"model {self.name}: {result.reason}")
        return response(result, version, made)

    def _spec(self, request: OptimiseRequest, version: ModelVersion, task: Task) -> OptimiseSpec:
        here, now = context.place(), context.current()
        inputs = optimise_inputs.inputs_for(
            request, here.home, self.name, task,
            tables=lambda: training_tables(self.tables),
            store=lambda: open_engine(here.home, here.store_url, read_only=True),
        )  # fmt: skip
        runs = here.home.runs
        number = now.message_id if now is not None else None
        folder = run_folders.by_hand(runs) if number is None else run_folders.of_message(runs, number)
        return spec_for(request, version, task, inputs, here.home, folder)

    def _made(
        self, spec: OptimiseSpec, version: ModelVersion, made_from: str, cancelled: list[str]
    ) -> tuple[OptimiseResult, ModelVersion | None]:
        """Optimise and stage; what was worked with goes, however it ends."""
        from wattbus.ml.optimiser import clear, stage

        made = None
        try:
            result = self._optimised(spec, cancelled)
            if result.chosen is not None:
                made = stage(self._models, version, result, made_from)
        finally:
            clear(spec)
        return result, made

    def _optimised(self, spec: OptimiseSpec, cancelled: list[str]) -> OptimiseResult:
        """Optimise, one at a time, and turn what ended it into what becomes of the message."""
        from wattbus.ml import optimiser

        window = current_window()
        stopping = context.place().stopping.is_set

        def over() -> bool:
            return bool(cancelled) or stopping()

        turns = context.place().resources.get(("optimising", self.name), Turns)
        now = context.current()
        mine = f"message {now.message_id}" if now is not None else "an optimisation outside of a production"
        with turns.taken(
            mine, ahead=lambda names: context.tell_progress("waits for its turn"), over=over
        ) as turn:
            if not turn or over():
                raise _ended("it had not begun", cancelled)
            try:
                return optimiser.optimise(
                    spec,
                    on_progress=self._tell,
                    on_child=window.watch_child,
                    on_cpu_seconds=window.add_child_cpu_seconds,
                    cancelled=over,
                    memory_limit_bytes=self.memory_limit_mb * 1_000_000 if self.memory_limit_mb else None,
                )
            except OptimisingFailed as error:
                if over():
                    raise _ended(str(error), cancelled) from error
                if isinstance(error, OptimisingKilled):
                    window.cut_off()
                    raise context.WorkerLost(str(error)) from error
                raise

    def _tell(self, stage: str) -> None:
        context.tell_progress(stage)
        self.log_info(stage)


@dataclass(frozen=True)
class ByHand:
    """An optimisation outside of a production, whose inputs were read and are enough."""

    spec: OptimiseSpec
    version: ModelVersion
    models: ModelStore
    made_from: str

    def run(
        self,
        tell: Callable[[str], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> OptimiseResponse:
        """Optimise, and stage what passes the gate; what was worked with goes, however it ends."""
        from wattbus.ml.optimiser import clear, optimise, stage

        made = None
        try:
            result = optimise(self.spec, on_progress=tell, cancelled=cancelled)
            if result.chosen is not None:
                made = stage(self.models, self.version, result, self.made_from)
        finally:
            clear(self.spec)
        return response(result, self.version, made)


def by_hand(
    request: OptimiseRequest,
    models: ModelStore,
    home: Home,
    name: str,
    task: str = "",
    *,
    tables_url: str | None,
    store_url: str | None,
) -> ByHand:
    """Read what an optimisation outside of a production needs; ``task``: by default what the model's files say.

    Raises BadRequest or UnknownName for inputs that there are not, or too few.
    """
    from wattbus.ml.model_files import task_of
    from wattbus.ml.pipeline_tasks import find_task

    version = models.with_weights(name)
    served = task or task_of(version.path)
    if served is None:
        raise BadRequest(f"the files of {name} do not say what it is served for: give its task.")
    found = find_task(served)
    inputs = optimise_inputs.inputs_for(
        request, home, name, found,
        tables=lambda: tables_beside(home, store_url, tables_url or f"sqlite:///{home.tables_file}"),
        store=lambda: open_engine(home, store_url, read_only=True),
    )  # fmt: skip
    for left in run_folders.left_by_hand(home.runs):
        shutil.rmtree(left, ignore_errors=True)
    spec = spec_for(request, version, found, inputs, home, run_folders.by_hand(home.runs))
    return ByHand(spec, version, models, compared_on(request))


def spec_for(
    request: OptimiseRequest,
    version: ModelVersion,
    task: Task,
    inputs: list[str],
    home: Home,
    run_folder: Path,
) -> OptimiseSpec:
    """Return what a request comes to: for the version that has weights, on inputs that were read."""
    from wattbus.ml.optimise_spec import Gate, OptimiseSpec, candidates_of

    return OptimiseSpec(
        model_folder=version.path,
        task=task.name,
        candidates=candidates_of(request.to),
        inputs=tuple(inputs),
        uploads=home.uploads,
        run_folder=run_folder,
        budget_seconds=request.budget_seconds,
        gate=Gate(min_agreement=request.min_agreement, min_speedup=request.min_speedup),
        metered=read_config().energy,
    )


def response(result: OptimiseResult, version: ModelVersion, made: ModelVersion | None) -> OptimiseResponse:
    """Return the report of an optimisation as a message."""
    return OptimiseResponse(
        model=version.name,
        old_version=version.id,
        new_version=made.id if made is not None else None,
        task=result.task,
        rows=result.rows,
        chosen=result.chosen,
        reason=result.reason,
        candidates=[
            OptimisedCandidate.model_validate(one.model_dump(mode="json")) for one in result.candidates
        ],
        seconds=result.seconds,
        notes=list(result.notes),
    )


def compared_on(request: OptimiseRequest) -> str:
    """Say which inputs a version was compared on."""
    if request.table is not None:
        return f"the column {request.text_column} of {request.table}"
    return "kept requests"


def _ended(how: str, cancelled: list[str]) -> Exception:
    if cancelled:
        return Cancelled(f"cancelled by {cancelled[0]}: {how}")
    return context.PutBack("the production stops; the optimisation begins anew with the next start")


def _task_facts(result: OptimiseResult, model: str, page: str | None, family: str) -> TaskFacts:
    return TaskFacts(
        stage="other",
        family=family,
        algorithm_type="neural network",
        algorithm_name=result.class_path.rpartition(".")[2],
        algorithm_uri=page,
        foundation_model=model,
        foundation_model_uri=page,
        parameters=result.parameters,
        framework="openvino",
        class_path=result.class_path,
        layers=result.layers,
    )
