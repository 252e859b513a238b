"""The optimiser: converts and compares in a child process, follows its events and ends it when asked."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from wattbus.errors import ModelError, OptimisingFailed, OptimisingKilled, WattbusError
from wattbus.home import make_owner_folder, write_durably
from wattbus.memory import size_words
from wattbus.ml.child import ERRORS, Child, events_of, start_child
from wattbus.ml.engine_files import CARD
from wattbus.ml.models import ModelStore, ModelVersion
from wattbus.ml.optimise_spec import OptimiseProgress, OptimiseResult, OptimiseSpec

#: The traced graph, a candidate of fp32, and some of lower precision are there at once.
DISK_PER_MODEL_BYTE = 4


def optimise(
    spec: OptimiseSpec,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
    on_child: Callable[[int], None] = lambda _: None,
    on_cpu_seconds: Callable[[float], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    memory_limit_bytes: int | None = None,
) -> OptimiseResult:
    """Try the candidates in a child process; the chosen one lies in ``result.model_folder``, for :func:`stage`.

    Raises BadRequest, Refused or ModelError for inputs and models that cannot be used, OptimisingKilled when the
    process was killed from outside, OptimisingFailed when it was cancelled, ran out of memory or failed.
    """
    done = finished_before(spec)
    if done is not None:
        return done
    shutil.rmtree(spec.run_folder, ignore_errors=True)
    make_owner_folder(spec.run_folder)
    _need_space(spec)
    file = spec.run_folder / "spec.json"
    write_durably(file, spec.model_dump_json(indent=1).encode())
    child = start_child("wattbus.ml.optimising", file, log=spec.run_folder / "optimise.log", told={})
    try:
        on_child(child.process.pid)
        result = _follow(child, on_progress, cancelled, memory_limit_bytes)
    except WattbusError:
        _check_still_there(spec)
        raise
    finally:
        child.end()
        if child.cpu_seconds is not None:
            on_cpu_seconds(child.cpu_seconds)
    if result is None:
        _check_still_there(spec)
        raise _death(spec, child)
    return result.model_copy(update={"cpu_seconds": child.cpu_seconds})


def finished_before(spec: OptimiseSpec) -> OptimiseResult | None:
    """Return the stored result of an earlier attempt at this very optimisation whose candidate is still there."""
    try:
        same = OptimiseSpec.model_validate_json((spec.run_folder / "spec.json").read_bytes()) == spec
        stored = OptimiseResult.model_validate_json((spec.run_folder / "result.json").read_bytes())
    except (OSError, ValueError):
        return None
    whole = stored.model_folder is None or (stored.model_folder / CARD).is_file()
    return stored if same and whole else None


def stage(store: ModelStore, parent: ModelVersion, result: OptimiseResult, made_from: str) -> ModelVersion:
    """Keep the chosen candidate as a version of its model that is not live; ``made_from`` says on which inputs."""
    folder = result.model_folder
    chosen = next(one for one in result.candidates if one.name == result.chosen)
    assert folder is not None and chosen.likeness is not None

    def build(aside: Path) -> None:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        if parent.id not in store.ids(parent.name):
            raise ModelError(
                f"the version {parent.id} of the model {parent.name} was removed while it was optimised: nothing was "
                "staged. Optimise the version that is published now."
            )

    return store.stage(
        parent.name,
        build,
        source="optimising",
        parent=parent.id,
        licence=parent.licence,
        metrics={"agreement": chosen.likeness.agreement},
        facts={
            "optimised": chosen.model_dump(mode="json", exclude={"likeness": {"changed_rows"}}),
            "compared_on": made_from,
            "rows": result.rows,
        },
        note=f"optimised from {parent.id} to {chosen.name}: {chosen.reason}",
    )


def clear(spec: OptimiseSpec) -> None:
    """Remove the run folder of an optimisation that has ended."""
    with contextlib.suppress(OSError):
        shutil.rmtree(spec.run_folder)


def _follow(
    child: Child,
    on_progress: Callable[[str], None],
    cancelled: Callable[[], bool],
    memory_limit_bytes: int | None,
) -> OptimiseResult | None:
    for event in events_of(child):
        kind = event.get("event")
        if kind == "progress":
            on_progress(OptimiseProgress(stage=event["stage"]).stage)
        elif kind == "result":
            return OptimiseResult.model_validate(event["result"])
        elif kind == "error":
            raise ERRORS.get(str(event.get("kind")), OptimisingFailed)(str(event.get("message")))
        if cancelled():
            raise OptimisingFailed("the optimisation was cancelled. Nothing was staged.")
        used = child.bytes_over(memory_limit_bytes)
        if used is not None:
            raise OptimisingFailed(
                f"the optimisation was ended, out of memory: it used {size_words(used)}, and the limit is "
                f"{size_words(memory_limit_bytes or 0)}. Raise the limit, or ask for one candidate alone."
            )
    return None


def _death(spec: OptimiseSpec, child: Child) -> OptimisingFailed:
    if child.status is not None and child.status < 0:
        hungry = child.memory.sentence() if child.status == -signal.SIGKILL else None
        if hungry is not None:
            return OptimisingFailed(
                f"the optimising process was {hungry}: give it more memory, or ask for one candidate alone."
            )
        return OptimisingKilled(
            f"the optimising process was killed by signal {-child.status}: the next attempt begins anew."
        )
    log = spec.run_folder / "optimise.log"
    lines = log.read_text(errors="replace").strip().splitlines()
    cause = f" ({lines[-1][:300]})" if lines else ""
    return OptimisingFailed(f"the optimising process ended with status {child.status}{cause}: see {log}.")


def _check_still_there(spec: OptimiseSpec) -> None:
    """Say so where the version went away meanwhile: whatever failed, failed for that."""
    if not (spec.model_folder / "config.json").is_file():
        raise ModelError(
            f"the version {spec.model_folder.name} was removed while it was optimised: nothing was staged. Optimise "
            "the version that is published now."
        )


def _need_space(spec: OptimiseSpec) -> None:
    model_bytes = sum(path.stat().st_size for path in spec.model_folder.glob("*.safetensors"))
    needed, free = DISK_PER_MODEL_BYTE * model_bytes, shutil.disk_usage(spec.run_folder).free
    if free < needed:
        raise OptimisingFailed(
            f"the optimisation needs {needed / 1e9:.2f} GB in {spec.run_folder} and {free / 1e9:.2f} GB are free: "
            "make room."
        )
