"""New tokenizers: of the same kind, trained on a stream of texts; shared tokens keep their embedding."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import tinymodels
from optimising import load_texts, stage
from wattbus import cli
from wattbus.errors import BadRequest
from wattbus.ml.loading import load_model, load_tokenizer
from wattbus.ml.models import ModelStore
from wattbus.ml.tokenizing import retokenise

TEXTS = [f"The quick brown fox jumps over {number} lazy dogs beside the hotel" for number in range(100)]


@pytest.mark.parametrize(
    ("task", "auto"),
    [("fill-mask", "AutoModelForMaskedLM"), ("text-generation", "AutoModelForCausalLM")],
)
def test_a_token_that_both_vocabularies_have_keeps_its_embedding(
    tmp_path: Path, task: str, auto: str
) -> None:
    before, after = tinymodels.build(task, tmp_path / "before"), tmp_path / "after"

    made = retokenise(before, iter(TEXTS), 300, after)

    one, two = load_tokenizer(before), load_tokenizer(after)
    old, _ = load_model(before, auto, 0, "{why}")
    new, fresh = load_model(after, auto, 0, "{why}")
    shared = sorted(set(one.get_vocab()) & set(two.get_vocab()))
    kept, given = old.get_input_embeddings().weight, new.get_input_embeddings().weight
    assert (made.tokens, made.shared) == (len(two), len(shared))
    assert given.shape == (len(two), kept.shape[1])
    assert new.config.vocab_size == len(two)
    assert fresh == ()
    assert (one.mask_token, one.eos_token) == (two.mask_token, two.eos_token)
    assert all(
        given[two.convert_tokens_to_ids(token)].equal(kept[one.convert_tokens_to_ids(token)])
        for token in shared
    )
    assert len(two("The quick brown fox")["input_ids"]) < len(one("The quick brown fox")["input_ids"])


def test_a_tokenizer_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="there are no texts to train a tokenizer on"):
        retokenise(tinymodels.build("fill-mask", tmp_path / "model"), iter(()), 300, tmp_path / "new")


def test_the_command_stages_the_model_with_its_new_tokenizer_and_the_live_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_HOME", str(tmp_path / "home"))
    store = ModelStore(tmp_path / "home" / "models")
    live = stage(store, "toy", tinymodels.build("fill-mask", tmp_path / "model"))
    monkeypatch.setenv("WATTBUS_TABLES_URL", load_texts(tmp_path))
    asked = ["models", "tokenizer", "toy", "--table", "Review", "--text-column", "ReviewText"]

    done = CliRunner().invoke(cli.app, [*asked, "--vocab-size", "150"])
    wrong = CliRunner().invoke(cli.app, [*asked, "--vocab-size", "5"])

    staged = store.staged("toy")
    assert done.exit_code == 0, done.output
    assert staged is not None
    assert (store.current("toy").id, staged.parent) == (live, live)
    assert f"{staged.id} is staged" in done.output
    assert "arbitrary until it is trained" in " ".join(done.output.split())
    assert store.verify("toy")[-1].ok
    assert wrong.exit_code != 0
    assert isinstance(wrong.exception, BadRequest)
