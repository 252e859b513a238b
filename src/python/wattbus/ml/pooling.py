"""One vector for a text: the hidden states of its tokens, pooled as sentence encoders do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# What sentence-transformers takes where a model does not say.
_USUAL = "mean"


@dataclass(frozen=True)
class Pooling:
    """How the vectors of tokens become one: their mean, or the first one; to the length 1 if so asked."""

    kind: str  # mean or cls
    normalize: bool

    @classmethod
    def of(cls, options: dict[str, Any], own: str | None) -> Pooling | None:
        """Take the options that ask for pooling out of ``options``; ``own`` is how the model itself does it."""
        kind, normalize = options.pop("pooling", None), bool(options.pop("normalize", False))
        if kind in (None, "none") and not normalize:
            return None
        return cls(own or _USUAL if kind in (None, "none", "model") else kind, normalize)

    def pooled(self, model_inputs: Any, outputs: Any) -> Any:
        """Return the outputs of an encoder with one vector in place of all, (texts, 1, size)."""
        from torch.nn.functional import normalize
        from transformers.modeling_outputs import BaseModelOutput

        hidden = outputs[0]
        mask = model_inputs.get("attention_mask")
        if self.kind == "cls" or mask is None:
            vectors = hidden[:, 0] if self.kind == "cls" else hidden.mean(dim=1)
        else:
            weights = mask.to(hidden.device).unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        if self.normalize:
            vectors = normalize(vectors, dim=1)
        return BaseModelOutput(last_hidden_state=vectors.unsqueeze(1))

    def of_tokens(self, hidden: Any) -> Any:
        """Return the vector of one text from those of its tokens, (tokens, size), in numpy."""
        import numpy

        vector = hidden[0] if self.kind == "cls" else hidden.mean(axis=0)
        return vector / max(float(numpy.linalg.norm(vector)), 1e-12) if self.normalize else vector

    @staticmethod
    def vectors(raw: Any, listed: bool) -> Any:
        """Return the vector of a text, or those of a list of texts."""
        return [one[0][0] for one in raw] if listed else raw[0][0]
