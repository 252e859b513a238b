"""Tiny text encoders of several families, with the tokenizer of the BERT one, and texts to ask them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tinymodels

TEXTS = tuple(
    f"{text} {word}" for text in tinymodels.SENTENCES for word in ("good", "a slow hotel room", "bad")
)


def bert(folder: Path) -> Path:
    return tinymodels.build("feature-extraction", folder)


def bert_with_a_head(folder: Path) -> Path:
    return tinymodels.build("text-classification", folder)


def gpt2(folder: Path) -> Path:
    return tinymodels.build("text-generation", folder)


def other(kind: str) -> Callable[[Path], Path]:
    """Return what makes a tiny model of another family, with the tokenizer of the BERT one."""

    def build(folder: Path) -> Path:
        import torch
        from transformers import (
            AutoTokenizer,
            DistilBertConfig,
            DistilBertForSequenceClassification,
            DistilBertModel,
            LongformerConfig,
            LongformerModel,
            RobertaConfig,
            RobertaForSequenceClassification,
            RobertaModel,
        )

        tokenizer = AutoTokenizer.from_pretrained(bert(folder.parent / f"{folder.name}-tokenizer"))
        size, pad = len(tokenizer), tokenizer.pad_token_id
        distil = DistilBertConfig(
            vocab_size=size, dim=32, n_layers=2, n_heads=2, hidden_dim=48, initializer_range=0.3, num_labels=3
        )
        roberta = RobertaConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            pad_token_id=pad, initializer_range=0.3, num_labels=3,
        )  # fmt: skip
        longformer = LongformerConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            attention_window=[4, 4], pad_token_id=pad, max_position_embeddings=130,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(tinymodels.SEED)
            model = {
                "longformer": lambda: LongformerModel(longformer),
                "distilbert": lambda: DistilBertModel(distil),
                "distilbert with a head": lambda: DistilBertForSequenceClassification(distil),
                "roberta": lambda: RobertaModel(roberta),
                "roberta with a head": lambda: RobertaForSequenceClassification(roberta),
            }[kind]()
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build
