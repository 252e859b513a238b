"""Tiny model folders for tests: whole, seeded, under 1 MB, made from configurations without a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEED = 7
NER_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
THINGS = ("cat", "remote", "couch", "person", "bed")
SENTENCES = (
    "George Washington lived in washington.",
    "Unfortunately, the outcome of the review was a really bad experience.",
    "This was a really bad experience, and the service was slow.",
    "This was a really good experience, and the staff was very kind.",
    "The food was great, the place was clean, and we will come back.",
    "Never again: the worst meal of my life, cold and expensive.",
    "A pretrained model is cached once, fine-tuned on rows, compared and swapped.",
    "Two cats sleep on a pink couch beside two remote controls.",
    "the review gives one two three four or five stars to the hotel and the room",
)

ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}


def tasks() -> tuple[str, ...]:
    """Name the tasks that ``build`` knows, aliases apart."""
    return tuple(_builders())


def build(task: str, folder: Path) -> Path:
    """Make a whole model folder for ``task``: config, safetensors, tokenizer or image processor."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for part in _builders()[ALIASES.get(task, task)]():
            part.save_pretrained(folder)
    return folder


def _builders() -> dict[str, Callable[[], tuple[Any, ...]]]:
    return {
        "text-generation": _gpt2,
        "token-classification": _bert_tokens,
        "fill-mask": _bert_mask,
        "text-classification": _bert_texts,
        "zero-shot-classification": _bert_entailment,
        "feature-extraction": _bert_encoder,
        "object-detection": _detr,
        "image-segmentation": _detr_panoptic,
        "image-classification": _vit,
    }


def build_camembert(folder: Path) -> Path:
    """Make a token-classification model with a SentencePiece file as tokenizer, like camembert-ner."""
    import json

    import sentencepiece
    import torch
    from transformers import CamembertConfig, CamembertForTokenClassification

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sentencepiece.bpe.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES),
            model_writer=file,
            vocab_size=120,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    config = CamembertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=66,  # 64 tokens: positions count from the padding index on
        pad_token_id=1,
        initializer_range=0.3,
        **_names(("O", "I-LOC", "I-PER", "I-MISC", "I-ORG")),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        CamembertForTokenClassification(config).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"max_len": 512}))
    return folder


def build_timm_detr(folder: Path) -> Path:
    """Make a detection model with its ResNet-18 saved under timm's names, as facebook/detr-resnet-50 has it.

    45 MB, for ResNets come in set sizes.
    """
    import json
    import re

    import torch
    from safetensors.torch import load_file, save_file
    from transformers import DetrForObjectDetection, ResNetConfig

    config = _detr_config()
    config.backbone_config = ResNetConfig(
        depths=[2, 2, 2, 2],
        layer_type="basic",
        hidden_sizes=[64, 128, 256, 512],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = DetrForObjectDetection(config)
        _make_sure_of_itself(model)
    model.save_pretrained(folder)
    _detr_processor().save_pretrained(folder)

    def timm_name(name: str) -> str:
        name = name.replace("embedder.embedder.convolution", "conv1").replace(
            "embedder.embedder.normalization", "bn1"
        )
        name = re.sub(
            r"encoder\.stages\.(\d)\.layers\.(\d+)",
            lambda found: f"layer{int(found[1]) + 1}.{found[2]}",
            name,
        )
        for number, (kind, timm) in enumerate((("convolution", "conv"), ("normalization", "bn"))):
            name = re.sub(
                rf"layer\.(\d)\.{kind}", lambda found, timm=timm: f"{timm}{int(found[1]) + 1}", name
            )
            name = name.replace(f"shortcut.{kind}", f"downsample.{number}")
        return name

    weights = {timm_name(name): weight for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    document = json.loads((folder / "config.json").read_text())
    document |= {"backbone_config": None, "backbone": "resnet18", "use_timm_backbone": True}
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def _names(labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def bert_tokenizer() -> Any:
    """Make a cased WordPiece tokenizer of the words and letters of SENTENCES; its trainer does not repeat."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    letters = sorted(set("".join(SENTENCES)) - {" "})
    words = sorted(set(re.findall(r"\w{2,}", " ".join(SENTENCES))))
    vocabulary = [*specials.values(), *letters, *(f"##{letter}" for letter in letters), *words]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in specials.items()},
    )


def gpt2_tokenizer() -> Any:
    """Train a byte-level BPE tokenizer on SENTENCES; it can write any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[end], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=256,
        bos_token=end,
        eos_token=end,
        unk_token=end,
        model_input_names=["input_ids", "attention_mask"],
    )


def _bert_config(tokenizer: Any, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,  # wide, so that different texts get visibly different answers
        **more,
    )


def _bert_tokens() -> tuple[Any, ...]:
    from transformers import BertForTokenClassification

    tokenizer = bert_tokenizer()
    return BertForTokenClassification(_bert_config(tokenizer, **_names(NER_LABELS))), tokenizer


def _bert_mask() -> tuple[Any, ...]:
    from transformers import BertForMaskedLM

    tokenizer = bert_tokenizer()
    return BertForMaskedLM(_bert_config(tokenizer)), tokenizer


def _bert_texts() -> tuple[Any, ...]:
    from transformers import BertForSequenceClassification

    tokenizer = bert_tokenizer()
    stars = tuple(f"{count} stars" for count in range(1, 6))
    return BertForSequenceClassification(_bert_config(tokenizer, **_names(stars))), tokenizer


def _bert_entailment() -> tuple[Any, ...]:
    from transformers import BertForSequenceClassification

    tokenizer = bert_tokenizer()
    labels = ("contradiction", "neutral", "entailment")
    return BertForSequenceClassification(_bert_config(tokenizer, **_names(labels))), tokenizer


def _bert_encoder() -> tuple[Any, ...]:
    from transformers import BertModel

    tokenizer = bert_tokenizer()
    return BertModel(_bert_config(tokenizer)), tokenizer


def _gpt2() -> tuple[Any, ...]:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = gpt2_tokenizer()
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=256,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )
    return GPT2LMHeadModel(config), tokenizer


def _detr_config() -> Any:
    from transformers import DetrConfig, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return DetrConfig(
        backbone_config=backbone,  # neither timm nor torchvision
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        num_queries=6,
        init_std=0.25,  # wide, so that the queries see different things
        **_names(THINGS),
    )


def _detr_processor() -> Any:
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

    return DetrImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 128})


def _make_sure_of_itself(detr: Any) -> None:
    """Widen the last layers, so that untrained queries name different things with high scores."""
    import torch

    with torch.no_grad():
        detr.class_labels_classifier.weight.mul_(20.0)
        detr.class_labels_classifier.bias[-1] = -1000.0  # never "no object"
        detr.model.query_position_embeddings.weight.mul_(30.0)


def _detr() -> tuple[Any, ...]:
    from transformers import DetrForObjectDetection

    model = DetrForObjectDetection(_detr_config())
    _make_sure_of_itself(model)
    return model, _detr_processor()


def build_detector(kind: str, folder: Path) -> Path:
    """Make the folder of a detection model of another kind: yolos, conditional-detr, deformable-detr or rt-detr."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for part in _DETECTORS[kind]():
            part.save_pretrained(folder)
    return folder


def _yolos() -> tuple[Any, ...]:
    from transformers import YolosConfig, YolosForObjectDetection
    from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

    config = YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=[96, 128],
        patch_size=16,
        num_detection_tokens=6,
        initializer_range=0.4,
        **_names(THINGS),
    )
    return YolosForObjectDetection(config), YolosImageProcessorPil(
        size={"shortest_edge": 96, "longest_edge": 128}
    )


def _conditional_detr() -> tuple[Any, ...]:
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection
    from transformers.models.conditional_detr import image_processing_pil_conditional_detr as processing

    config = ConditionalDetrConfig(
        backbone_config=_detr_config().backbone_config, init_std=0.25, **_small_detr(), **_names(THINGS)
    )
    processor = processing.ConditionalDetrImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 128})
    return ConditionalDetrForObjectDetection(config), processor


def _deformable_detr() -> tuple[Any, ...]:
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection
    from transformers.models.deformable_detr import image_processing_pil_deformable_detr as processing

    config = DeformableDetrConfig(
        backbone_config=_detr_config().backbone_config,
        init_std=0.25,
        num_feature_levels=4,
        **{**_small_detr(), "decoder_layers": 2},
        **_names(THINGS),
    )
    processor = processing.DeformableDetrImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 128})
    return DeformableDetrForObjectDetection(config), processor


def _rt_detr() -> tuple[Any, ...]:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 16, 16],
        decoder_in_channels=[32, 32, 32],
        num_denoising=0,
        initializer_range=0.3,
        **{**_small_detr(), "decoder_layers": 2},
        **_names(THINGS),
    )
    return RTDetrForObjectDetection(config), RTDetrImageProcessorPil(size={"height": 128, "width": 128})


def _small_detr() -> dict[str, Any]:
    return {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_queries": 6,
    }  # fmt: skip


_DETECTORS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "yolos": _yolos,
    "conditional-detr": _conditional_detr,
    "deformable-detr": _deformable_detr,
    "rt-detr": _rt_detr,
}


def _detr_panoptic() -> tuple[Any, ...]:
    from transformers import DetrForSegmentation

    model = DetrForSegmentation(_detr_config())
    _make_sure_of_itself(model.detr)
    return model, _detr_processor()


def _vit() -> tuple[Any, ...]:
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
        initializer_range=0.3,
        **_names(THINGS),
    )
    return ViTForImageClassification(config), ViTImageProcessorPil(size={"height": 32, "width": 32})
