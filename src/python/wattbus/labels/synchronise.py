"""Synchronising from a model provider: what its list declares of each model, kept apart from what we measured.

Page by page, each model is kept as a document and then the place in the list: a run that was killed goes on there, and
reads no more than one page twice. A model without a figure is kept with the reason, so that nothing is left out unsaid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from sqlalchemy import Engine

from wattbus import words
from wattbus.energy.figures import RunFigures, Source, Stage, figures_from_content
from wattbus.errors import BadRequest, UnknownName
from wattbus.ml.hub_figures import PAGE, HubModel, HubPage, Selection
from wattbus.store.documents import Document, document, list_documents

MODELS, RUNS = "provider-model", "provider-run"
#: So many are listed at once.
LISTED = 5_000

#: Saves documents in this order: kind, name and content of each.
Keep = Callable[[Sequence[tuple[str, str, dict[str, Any]]]], object]
Tell = Callable[[str], object]


class Provider(Protocol):
    """A list of models, page by page."""

    endpoint: str

    def first(self, selection: Selection, page: int = PAGE) -> str: ...

    def page(self, address: str, tell: Tell = ...) -> HubPage: ...


@dataclass(frozen=True)
class SyncRun:
    """How far a selection has been read. ``place`` is the address of the next page, empty where the end was reached."""

    selection: Selection
    endpoint: str
    place: str
    taken: int = 0  # models of the page at ``place`` that a limit let through
    kept: int = 0
    skipped: int = 0
    began_us: int = 0
    changed_us: int = 0

    @property
    def read(self) -> int:
        """Return how many models were looked at."""
        return self.kept + self.skipped

    @property
    def is_whole(self) -> bool:
        """Tell whether the end of the list was reached."""
        return not self.place

    @property
    def sentence(self) -> str:
        """Say what came of it."""
        if not self.read:
            return f"{self.endpoint} lists no such model." if self.is_whole else "Nothing was read yet."
        said = (
            f"{words.counted(self.read, 'model')} read from {self.endpoint}: {self.kept:,} with figures, "
            f"{self.skipped:,} skipped, each with its reason."
        )
        return said if self.is_whole else f"{said} There are more: the next run goes on from there."


@dataclass(frozen=True)
class ProviderModel:
    """What a provider says of one model: figures, or in ``skipped`` why there are none."""

    name: str
    provider: str
    read_us: int
    version: int
    figures: RunFigures | None = None
    skipped: str = ""
    doubts: tuple[str, ...] = ()
    said: str = ""  # the emissions as the card has them
    emissions_source: str = ""
    training_type: str = ""
    location: str = ""
    library: str = ""
    likes: int | None = None
    downloads: int | None = None
    downloads_period: str = ""
    size_origin: str = ""
    score_name: str = ""
    changed: str = ""
    tags: tuple[str, ...] = field(default=())


def synchronise(
    provider: Provider,
    selection: Selection,
    keep: Keep,
    before: SyncRun | None,
    now_us: Callable[[], int],
    *,
    limit: int | None = None,
    tell: Tell = lambda text: None,
) -> SyncRun:
    """Read a selection from where ``before`` ended, ``limit`` models at most, and return how far that went."""
    if limit is not None and limit < 1:
        raise BadRequest(f"the limit is {limit}: give a number of models from 1, or leave it out.")
    going_on = before is not None and not before.is_whole and before.endpoint == provider.endpoint
    run = before if before is not None and going_on else _fresh(provider, selection, limit, now_us())
    left = limit
    while run.place and left != 0:
        page = provider.page(run.place, tell)
        rows: list[HubModel | tuple[str, str]] = [*page.models, *page.unreadable]
        chosen = rows[run.taken :] if left is None else rows[run.taken : run.taken + left]
        contents = [_content(row, provider.endpoint) for row in chosen]
        skipped = sum("skipped" in content for _, content in contents)
        through = run.taken + len(chosen) >= len(rows)
        run = replace(
            run,
            place=page.next if through else run.place,
            taken=0 if through else run.taken + len(chosen),
            kept=run.kept + len(contents) - skipped,
            skipped=run.skipped + skipped,
            changed_us=now_us(),
        )
        models = [(MODELS, name, content) for name, content in contents]
        keep([*models, (RUNS, selection.title, asdict(run))])  # the place last: what it says was read is kept
        left = None if left is None else left - len(chosen)
        tell(f"{words.counted(run.read, 'model')} read, {run.kept:,} with figures")
    return run


def _fresh(provider: Provider, selection: Selection, limit: int | None, now_us: int) -> SyncRun:
    first = provider.first(selection, PAGE if limit is None else min(PAGE, limit))
    return SyncRun(selection, provider.endpoint, first, began_us=now_us)


def _content(row: HubModel | tuple[str, str], provider: str) -> tuple[str, dict[str, Any]]:
    """Return the name and what is kept of a model; ``skipped`` stands in it where it has no figure."""
    if isinstance(row, tuple):
        return row[0], {"provider": provider, "skipped": f"{row[1]}."}
    declared = row.declared
    content: dict[str, Any] = {
        "provider": provider, "said": declared.said, "emissions_source": declared.source,
        "training_type": declared.training_type, "location": declared.location, "library": row.library or "",
        "likes": row.likes, "downloads": row.downloads, "downloads_period": row.downloads_period,
        "size_origin": row.size_origin, "score_name": row.score_name, "changed": row.changed, "tags": list(row.tags),
        "doubts": list(row.doubts),
    }  # fmt: skip
    if declared.grams is None:
        content["skipped"] = f"{declared.missing}."
    else:
        content["figures"] = _figures(row, provider).to_content()
    return row.name, content


def _figures(row: HubModel, provider: str) -> RunFigures:
    doubted = f"; doubted: {'; '.join(row.doubts)}" if row.doubts else ""
    extra = {} if row.downloads is None else {"downloads": float(row.downloads)}
    if row.score is not None and row.score_name != "accuracy":
        extra["performance_score"] = row.score
    return RunFigures(
        name=row.name,
        stage=Stage.TRAINING,
        source=Source.PROVIDER,
        origin=f"declared on its card at {provider}{doubted}",
        model=row.name,
        revision=row.revision,
        task=row.task,
        method=row.declared.source or None,
        carbon_grams=row.declared.grams,
        carbon_source=row.declared.location or None,
        parameters=row.parameters,
        size_bytes=row.size_bytes,
        accuracy=row.score if row.score_name == "accuracy" else None,
        hardware=row.declared.hardware or None,
        extra=extra,
    )


# -- what is kept ---------------------------------------------------------------------------------------------------


def sync_runs(engine: Engine) -> list[SyncRun]:
    """Return how far each selection was read, the one that was read last first."""
    return [_run(one) for one in list_documents(engine, RUNS)]


def sync_run(engine: Engine, selection: Selection) -> SyncRun | None:
    """Return how far a selection was read; None where it never was."""
    try:
        return _run(document(engine, RUNS, selection.title))
    except UnknownName:
        return None


def provider_models(engine: Engine, *, limit: int = LISTED) -> list[ProviderModel]:
    """Return what providers say of their models, the newest first."""
    return [_model(one) for one in list_documents(engine, MODELS, limit=limit)]


def provider_model(engine: Engine, name: str) -> ProviderModel:
    """Return what its provider says of a model."""
    return _model(document(engine, MODELS, name))


def provider_figures(engine: Engine, name: str) -> RunFigures:
    """Return the figures that a provider declares of a model, to be graded; BadRequest where it declares none."""
    found = provider_model(engine, name)
    if found.figures is None:
        raise BadRequest(f"{name} cannot be graded: {found.skipped}")
    return found.figures


def reasons(models: Sequence[ProviderModel]) -> dict[str, int]:
    """Count the skipped models by reason, the most frequent first."""
    found: dict[str, int] = {}
    for one in models:
        if one.skipped:
            reason = one.skipped.partition(":")[0].rstrip(".")
            found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _run(one: Document) -> SyncRun:
    return SyncRun(**{**one.content, "selection": Selection(**one.content["selection"])})


def _model(one: Document) -> ProviderModel:
    content = dict(one.content)
    figures = content.pop("figures", None)
    return ProviderModel(
        name=one.name,
        read_us=one.made_us,
        version=one.version,
        figures=None if figures is None else figures_from_content(figures),
        **{
            **content,
            "doubts": tuple(content.get("doubts", ())),
            "tags": tuple(content.get("tags", ())),
        },
    )
