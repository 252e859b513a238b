"""What a model provider declares: synchronise from its list, see what was taken and what was skipped and why, grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from wattbus import words
from wattbus.clock import SYSTEM
from wattbus.errors import ModelError, RequestFailed, UnknownName
from wattbus.labels.builtin import GAISSA_TRAINING
from wattbus.labels.evaluate import evaluate
from wattbus.labels.history import KeptEvaluation, save_evaluation
from wattbus.labels.profiles import get_profile
from wattbus.labels.synchronise import (
    LISTED,
    MODELS,
    ProviderModel,
    SyncRun,
    provider_figures,
    provider_model,
    provider_models,
    reasons,
    sync_run,
    sync_runs,
    synchronise,
)
from wattbus.ml.hub_figures import HubList, Selection
from wattbus.store.documents import save_document
from wattbus.web.background import Background
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.twin import Twins

PATH = "/energy/provider"


@dataclass(frozen=True)
class ProviderView:
    """What is kept of a provider, what is being done now and how the last work failed, where it did."""

    endpoint: str
    doing: str
    progress: str
    failure: str
    runs: list[SyncRun]
    models: list[ProviderModel]  # those with figures
    skipped: list[ProviderModel]
    reasons: dict[str, int]  # of the skipped: how many of each
    shown: int  # so many of each are listed at most
    more: bool  # there are more than are listed
    search: str


@dataclass(frozen=True)
class Synchronised:
    """What became of a synchronisation by now."""

    sentence: str
    run: SyncRun | None = None


class SyncBody(BaseModel):
    """Which models are read; by default all that declare emissions, from where the last run of the same ended."""

    model_config = ConfigDict(extra="forbid")

    author: str = Field(default="", max_length=100, description="a user or an organisation")
    search: str = Field(default="", max_length=200, description="words in the name")
    task: str = Field(
        default="", max_length=100, description="a pipeline's task, such as text-classification"
    )
    everything: bool = Field(
        default=False, description="also models that declare no emissions: listed as skipped"
    )
    limit: int | None = Field(default=None, ge=1, le=1_000_000, description="read so many models at most")
    restart: bool = Field(default=False, description="begin at the first page, whatever was read before")

    @property
    def selection(self) -> Selection:
        return Selection(self.author.strip(), self.search.strip(), self.task.strip(), self.everything)


class GradeBody(BaseModel):
    """Which model is graded, with which profile, and the name of the result."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=200)
    profile: str = Field(default=GAISSA_TRAINING, max_length=80)
    name: str = Field(default="", max_length=200)


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""
    work, told = Background(), {"progress": ""}

    def page(
        search: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=LISTED)] = 200,
    ) -> ProviderView:
        """Return what was synchronised from the provider, and what was skipped and why."""
        with desk.reading() as engine:
            runs = [] if engine is None else sync_runs(engine)
            kept = [] if engine is None else provider_models(engine)
        found = [one for one in kept if search.lower() in one.name.lower()]
        models = [one for one in found if one.figures is not None]
        skipped = [one for one in found if one.figures is None]
        return ProviderView(
            HubList(desk.config.hub_url).endpoint,
            work.doing,
            told["progress"] if work.doing else "",
            work.failure,
            runs,
            models[:limit],
            skipped[:limit],
            reasons(skipped),
            limit,
            max(len(models), len(skipped)) > limit or len(kept) >= LISTED,
            search,
        )

    def start(body: SyncBody, who: Who) -> Synchronised:
        """Read the provider's list, page by page; it goes on while the page is away."""
        selection, results = body.selection, list[SyncRun]()

        def keep(documents: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
            with desk.writing() as engine:
                for kind, name, content in documents:
                    save_document(engine, kind, name, content, who.name)

        def read() -> None:
            with desk.reading() as engine:
                before = None if engine is None or body.restart else sync_run(engine, selection)
            try:
                found = synchronise(
                    HubList(desk.config.hub_url), selection, keep, before, SYSTEM.now_us,
                    limit=body.limit, tell=lambda text: told.update(progress=text),
                )  # fmt: skip
            except ModelError as error:
                raise RequestFailed(str(error)) from None  # the provider's fault, and none of a model here
            results.append(found)

        told["progress"] = ""
        if work.do(f"Synchronising {selection.title}", read) and results:
            return Synchronised(results[-1].sentence, results[-1])
        return Synchronised("It is being read; this page tells how far it is.")

    def grade(body: GradeBody, who: Who) -> KeptEvaluation:
        """Grade what a provider declares of a model with a profile, and keep the result."""
        with desk.writing() as engine:
            figures = provider_figures(engine, body.model)
            graded = evaluate(get_profile(engine, body.profile), figures)
            return save_evaluation(engine, graded, who.name, body.name)

    def model(name: str) -> ProviderModel:
        """Return what the provider says of one model."""
        with desk.reading() as engine:
            if engine is None:
                raise UnknownName(MODELS, name, [])
            return provider_model(engine, name)

    twins.share(grams=grams)
    twins.view(PATH, "energy_provider.html", page, tag="energy")
    twins.read(f"{PATH}/models/{{name:path}}", model, tag="energy")
    twins.action(f"{PATH}/start", start, tag="energy", then=PATH, said=lambda done: str(done.sentence))
    twins.action(
        f"{PATH}/grade", grade, tag="energy", then=lambda done: str(done.address), said="Graded and kept."
    )


def grams(value: float | None) -> str:
    """Show a mass with two digits: nobody knows such a figure better.

    >>> grams(41_100), grams(0.07), grams(2e9), grams(None)
    ('41 kg', '0.07 g', '2,000 t', '—')
    """
    if value is None:
        return words.UNKNOWN
    for unit, factor in (("t", 1e6), ("kg", 1e3)):
        if value >= factor:
            shown = float(f"{value / factor:.2g}")
            return f"{shown:,.0f} {unit}" if shown >= 10 else f"{shown:g} {unit}"
    return f"{float(f'{value:.2g}'):g} g"
