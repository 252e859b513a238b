"""OptimiseOperation: converts a model to a faster engine, compares it on the user's rows, and stages it if it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iop import BusinessOperation

from wattbus.config import read_config
from wattbus.energy.attempt_window import current_window
from wattbus.energy.record import TaskFacts
from wattbus.errors import BadSettings, Cancelled, OptimisingFailed, OptimisingKilled
from wattbus.home import Home
from wattbus.messages import OptimisedCandidate, OptimiseRequest, OptimiseResponse
from wattbus.operations import optimise_inputs
from wattbus.operations.metered import Metered
from wattbus.operations.place import model_store, page_of, training_tables
from wattbus.operations.turns import Turns
from wattbus.runtime import context
from wattbus.store.database import open_engine

if TYPE_CHECKING:
    from wattbus.ml.models import ModelVersion
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
        from wattbus.ml.optimiser import clear, stage
        from wattbus.ml.pipeline_tasks import find_task

        cancelled: list[str] = []
        task = find_task(self.task)
        with context.on_cancel(cancelled.append):
            self._models.ensure(self.name, model_url=self.model_url or None, progress=self.log_info)
            version = self._models.with_weights(self.name)
            spec = self._spec(request, version, task)
            result = self._optimised(spec, cancelled)
        made = None
        try:
            if result.chosen is not None:
                made = stage(self._models, version, result, compared_on(request))
        finally:
            clear(spec)
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
        run = f"optimise-{now.message_id}" if now is not None else "optimise"
        return spec_for(request, version, task, inputs, here.home, run)

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
                    optimiser.clear(spec)
                    raise _ended(str(error), cancelled) from error
                if isinstance(error, OptimisingKilled):
                    window.cut_off()
                    raise context.WorkerLost(str(error)) from error
                raise

    def _tell(self, stage: str) -> None:
        context.tell_progress(stage)
        self.log_info(stage)


def spec_for(
    request: OptimiseRequest, version: ModelVersion, task: Task, inputs: list[str], home: Home, run: str
) -> OptimiseSpec:
    """Return what a request comes to: for the version that has weights, on inputs that were read."""
    from wattbus.ml.optimise_spec import Gate, OptimiseSpec, candidates_of

    return OptimiseSpec(
        model_folder=version.path,
        task=task.name,
        candidates=candidates_of(request.to),
        inputs=tuple(inputs),
        uploads=home.uploads,
        run_folder=home.runs / run,
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
