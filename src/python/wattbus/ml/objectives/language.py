"""Language models: which class of a folder names tokens, and in which direction it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wattbus.errors import ModelError
from wattbus.ml.loading import load_model

ROWS_AT_ONCE = 8  # the scores of a whole vocabulary at each token are large
_AUTO = {"masked-lm": "AutoModelForMaskedLM", "causal-lm": "AutoModelForCausalLM"}
_OTHER = {
    "masked-lm": "masked-lm needs an encoder such as BERT; this one may do causal-lm",
    "causal-lm": "causal-lm needs a decoder such as GPT-2; this one may do masked-lm",
}


def load_language_model(
    folder: Path, config: Any, objective: str, seed: int
) -> tuple[Any, str | None, tuple[str, ...]]:
    """Load a model that names tokens; return what to say of a head that is new. ModelError where it cannot."""
    import transformers

    if not _reads_that_way(config, objective):
        named = ", ".join(config.architectures or ["?"])
        raise ModelError(
            f"the model in {folder} is a {config.model_type} ({named}), which cannot be trained for {objective}: "
            f"{_OTHER[objective]}."
        )
    model, fresh = load_model(
        folder,
        _AUTO[objective],
        seed,
        f"the model in {folder} cannot be trained for {objective} ({{why}}): {_OTHER[objective]}.",
    )
    transformers.utils.logging.disable_progress_bar()
    if not fresh:
        return model, None, ()
    why = f"the stored model has no trained head for {objective}"
    return (
        model,
        f"{why}: the old figures are those of the stored model with an untrained head.",
        (f"{why}: a new one was made from the seed.",),
    )


def _reads_that_way(config: Any, objective: str) -> bool:
    """Tell whether a configuration has the class, and reads both sides for one objective, one side for the other."""
    import transformers

    both = type(config) in transformers.AutoModelForMaskedLM._model_mapping
    if objective == "masked-lm":
        return both
    one_way = type(config) in transformers.AutoModelForCausalLM._model_mapping
    return one_way and not getattr(config, "is_encoder_decoder", False) and (not both or config.is_decoder)
