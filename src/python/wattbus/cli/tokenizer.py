"""The part of the command that trains a tokenizer on a column of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from wattbus.cli.output import JsonOption, configured, home, say, say_json
from wattbus.errors import BadRequest


def models_tokenizer(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    table: Annotated[str, typer.Option(help="The table with the texts.")],
    text_column: Annotated[str, typer.Option(help="Its column.")],
    vocab_size: Annotated[int, typer.Option(help="How many tokens it may have.")],
    limit: Annotated[int | None, typer.Option(help="Rows to read; all when left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a new tokenizer of the same kind on your texts, and stage the model with it, to be trained next."""
    from wattbus.ml.models import ModelStore
    from wattbus.ml.tables import parse_limit
    from wattbus.ml.tokenizing import NewTokenizer, check_vocabulary, retokenise
    from wattbus.operations.place import tables_beside

    check_vocabulary(vocab_size)
    config = configured()
    store = ModelStore(home().models, hub_url=config.hub_url)
    version = store.with_weights(name)
    tables = tables_beside(home(), config.store_url, config.tables_url or f"sqlite:///{home().tables_file}")
    tables.resolve(table, [text_column])
    made: list[NewTokenizer] = []

    def texts() -> Iterator[str]:
        for number, (text,) in enumerate(tables.rows(table, [text_column], parse_limit(limit)), start=1):
            if text is not None and not isinstance(text, str):
                raise BadRequest(
                    f"column {text_column} of {table} holds {type(text).__name__} in row {number}: name a column of "
                    "texts."
                )
            if text:
                yield text

    def build(folder: Path) -> None:
        made.append(retokenise(version.path, texts(), vocab_size, folder))

    staged = store.stage(
        name, build, source="tokenizer training", parent=version.id, licence=version.licence,
        facts={"table": table, "columns": [text_column], "vocab_size": vocab_size},
        note=f"made from {version.id} on {table}, not trained since",
    )  # fmt: skip
    if as_json:
        told = {"tokens": made[0].tokens, "shared": made[0].shared, "note": made[0].note}
        say_json({"model": name, "version": staged.id, "parent": version.id, **told})
        return
    say(f"{name}: {staged.id} is staged, made from {version.id}: {made[0].note}")
