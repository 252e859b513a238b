"""Any pipeline answers the seed's requests as typed, JSON-safe values, and refuses the rest in words."""

from __future__ import annotations

import io
import json
import math
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import tinymodels
from wattbus.errors import BadRequest, BadSettings, ModelCorrupt, ModelError, Refused, UnknownName
from wattbus.ml import generation
from wattbus.ml.images import ImageSource
from wattbus.ml.pipeline_tasks import NOT_SERVED, TASKS
from wattbus.ml.pipelines import Predictor, load
from wattbus.ml.results import make_plain

CATS = "http://images.cocodataset.org/val2017/000000039769.jpg"
Loader = Callable[..., Predictor]


def cats_jpeg() -> bytes:
    image = Image.new("RGB", (160, 120), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 20, 70, 80), fill="red")
    draw.ellipse((90, 40, 150, 110), fill="blue")
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny model folder of a task, made once."""
    root = tmp_path_factory.mktemp("models")

    def folder(task: str) -> Path:
        task = tinymodels.ALIASES.get(task, task)
        return root / task if (root / task).exists() else tinymodels.build(task, root / task)

    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    uploads = tmp_path_factory.mktemp("uploads")
    (uploads / "000000039769.jpg").write_bytes(cats_jpeg())

    def fetch(address: str) -> bytes:
        assert address == CATS
        return cats_jpeg()

    return ImageSource(uploads, fetch)


@pytest.fixture(scope="session")
def loaded(models: Callable[[str], Path], source: ImageSource) -> Loader:
    """A predictor of a tiny model; each set of settings loaded once."""
    kept: dict[str, Predictor] = {}

    def one(task: str, **options: str) -> Predictor:
        key = f"{task} {sorted(options.items())}"
        if key not in kept:
            kept[key] = load(models(task), task, options, images=source)
        return kept[key]

    return one


def is_json(value: Any) -> bool:
    return bool(json.loads(json.dumps(value, allow_nan=False)) == value)


# The seed's requests, word for word


@pytest.mark.parametrize(
    "body",
    [
        {"text_inputs": "Unfortunately, the outcome", "max_length": 100, "num_return_sequences": 3},
        {"text_inputs": "George Washington lived", "max_length": 30, "num_return_sequences": 3},
    ],
)
def test_gpt2_continues_the_text_three_times(body: dict[str, Any], loaded: Loader) -> None:
    prediction = loaded("text-generation").predict(body)

    texts = [one["generated_text"] for one in prediction.output]
    assert len(texts) == 3
    assert all(
        text.startswith(body["text_inputs"]) and len(text) > len(body["text_inputs"]) for text in texts
    )
    assert is_json(prediction.output)
    assert prediction.input_tokens is not None
    assert prediction.output_tokens is not None
    assert prediction.output_tokens <= 3 * (body["max_length"] - prediction.input_tokens)
    assert any("do_sample" in note for note in prediction.notes)


def test_ner_with_aggregation_groups_entities_and_places_them_in_the_text(loaded: Loader) -> None:
    text = "George Washington lived in washington"

    prediction = loaded("ner", aggregation_strategy="simple").predict({"inputs": text})

    assert prediction.output
    assert is_json(prediction.output)
    for entity in prediction.output:
        assert entity["entity_group"] in {"PER", "LOC", "ORG"}
        assert text[entity["start"] : entity["end"]] == entity["word"]
        assert 0 < entity["score"] <= 1


def test_fill_mask_proposes_five_words_for_the_mask(loaded: Loader) -> None:
    prediction = loaded("fill-mask").predict({"inputs": "George Washington lived in [MASK]."})

    assert len(prediction.output) == 5
    assert all(one["sequence"].startswith("George Washington lived in") for one in prediction.output)
    assert is_json(prediction.output)


def test_text_classification_grades_the_review(loaded: Loader) -> None:
    prediction = loaded("text-classification").predict({"inputs": "This was a really bad experience"})

    assert prediction.output[0]["label"] in {f"{stars} stars" for stars in range(1, 6)}
    assert (prediction.input_kind, prediction.input_items, prediction.input_bytes) == ("text", 1, 32)
    assert prediction.notes == ()


def test_object_detection_boxes_what_it_finds_at_an_address_and_draws_it(loaded: Loader) -> None:
    prediction = loaded("object-detection").predict({"url": CATS})

    assert prediction.output
    assert is_json(prediction.output)
    for found in prediction.output:
        assert found["label"] in tinymodels.THINGS
        assert all(type(edge) is int for edge in found["box"].values())
    (picture,) = prediction.pictures
    drawn = Image.open(io.BytesIO(picture.png))
    assert (drawn.format, drawn.size) == ("PNG", (160, 120))
    assert (picture.kind, picture.width, picture.height) == ("annotated", 160, 120)
    original = Image.open(io.BytesIO(cats_jpeg()))
    assert list(drawn.convert("RGB").tobytes()) != list(original.tobytes())


def test_segmentation_of_an_uploaded_file_gives_masks_as_pictures(loaded: Loader) -> None:
    prediction = loaded("image-segmentation").predict({"url": "/irisdev/app/misc/000000039769.jpg"})

    assert is_json(prediction.output)
    kinds = [picture.kind for picture in prediction.pictures]
    assert kinds == ["annotated"] + ["mask"] * len(prediction.output)
    names = {picture.name for picture in prediction.pictures}
    for segment in prediction.output:
        assert segment["mask"]["picture"] in names
        assert (segment["mask"]["width"], segment["mask"]["height"]) == (160, 120)
    assert any("looked up by its file name" in note for note in prediction.notes)


def test_image_classification_names_the_five_likeliest(loaded: Loader) -> None:
    prediction = loaded("image-classification").predict({"url": CATS})

    assert {one["label"] for one in prediction.output} == set(tinymodels.THINGS)
    assert (prediction.input_kind, prediction.input_items) == ("image", 1)
    assert prediction.pictures == ()


# More tasks and inputs


def test_pooling_makes_one_vector_of_a_text_whatever_stands_beside_it(loaded: Loader) -> None:
    texts = ["the food was great", "never again: the worst meal of my life"]
    tokens = loaded("feature-extraction").predict({"inputs": texts[0]}).output[0]

    alone = loaded("feature-extraction").predict({"inputs": texts[0], "pooling": "mean"}).output
    padded = loaded("feature-extraction", batch_size="2").predict({"inputs": texts, "pooling": "mean"}).output
    first = loaded("feature-extraction").predict({"inputs": texts[0], "pooling": "cls"}).output
    unit = loaded("feature-extraction").predict({"inputs": texts[0], "normalize": True}).output

    assert alone == pytest.approx(
        [sum(column) / len(tokens) for column in zip(*tokens, strict=True)], abs=1e-5
    )
    assert padded[0] == pytest.approx(alone, abs=1e-5)
    assert first == pytest.approx(tokens[0], abs=1e-5)
    assert math.hypot(*unit) == pytest.approx(1, abs=1e-5)


def test_a_sentence_encoder_says_itself_how_it_pools(models: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models("feature-extraction"), tmp_path / "encoder")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    predictor = load(folder, "feature-extraction", {})

    own = predictor.predict({"inputs": "the food was great", "pooling": "model"}).output

    assert own == predictor.predict({"inputs": "the food was great", "pooling": "cls"}).output


def test_a_chat_of_one_turn_is_a_text_for_a_model_without_a_template(loaded: Loader) -> None:
    fields = {"max_new_tokens": 4, "do_sample": False, "return_full_text": False}
    chat = [{"role": "user", "content": "George Washington lived"}]

    answered = loaded("text-generation").predict({"inputs": chat, **fields})

    assert (
        answered.output == loaded("text-generation").predict({"inputs": chat[0]["content"], **fields}).output
    )


def test_features_are_a_vector_of_plain_numbers_a_token(loaded: Loader) -> None:
    prediction = loaded("feature-extraction").predict({"inputs": "the food was great"})

    assert {len(vector) for vector in prediction.output[0]} == {32}
    assert is_json(prediction.output)


def test_zero_shot_classification_ranks_the_labels_of_the_request(loaded: Loader) -> None:
    body = {"inputs": "The food was great", "candidate_labels": "food, place"}

    prediction = loaded("zero-shot-classification").predict(body)

    assert set(prediction.output["labels"]) == {"food", "place"}
    assert math.isclose(sum(prediction.output["scores"]), 1, rel_tol=1e-5)


@pytest.mark.parametrize("name", ["inputs", "text_inputs", "text", "sequences", "args"])
def test_the_text_may_come_under_any_name_a_pipeline_ever_gave_it(name: str, loaded: Loader) -> None:
    predictor = loaded("text-classification")

    assert (
        predictor.predict({name: "a cold meal"}).output == predictor.predict({"inputs": "a cold meal"}).output
    )


def test_a_list_of_texts_gets_a_list_of_the_same_answers_as_one_by_one(loaded: Loader) -> None:
    predictor, texts = loaded("ner"), list(tinymodels.SENTENCES[:4])

    together = predictor.predict({"inputs": texts})

    assert together.output == [predictor.predict({"inputs": text}).output for text in texts]
    assert together.input_items == 4


def test_a_batch_size_in_the_settings_does_not_change_the_answers(loaded: Loader) -> None:
    texts = list(tinymodels.SENTENCES[:4])

    one_by_one = loaded("text-classification").predict({"inputs": texts}).output
    batched = loaded("text-classification", batch_size="4").predict({"inputs": texts}).output

    assert [one["label"] for one in batched] == [one["label"] for one in one_by_one]
    for left, right in zip(batched, one_by_one, strict=True):
        assert math.isclose(left["score"], right["score"], rel_tol=1e-4)


def test_settings_are_defaults_and_the_request_overrides_them(loaded: Loader) -> None:
    predictor = loaded("text-classification", top_k="3")

    assert len(predictor.predict({"inputs": "cold"}).output) == 3
    assert len(predictor.predict({"inputs": "cold", "top_k": 2}).output) == 2
    assert len(predictor.predict({"inputs": "cold", "top_k": None}).output) == 5
    assert len(predictor.predict({"inputs": "cold", "return_all_scores": True}).output) == 5


def test_a_text_longer_than_the_model_reads_is_cut_and_a_note_says_so(loaded: Loader) -> None:
    prediction = loaded("text-classification").predict({"inputs": "the meal " * 600})

    assert prediction.input_tokens == 512
    assert any("1202 tokens and the model reads 512" in note for note in prediction.notes)


def test_generation_stops_at_the_end_of_the_models_context(loaded: Loader) -> None:
    prediction = loaded("text-generation").predict({"inputs": "the meal", "max_new_tokens": 1000})

    assert prediction.output_tokens is not None
    assert prediction.output_tokens < 256
    assert any("context is 256 tokens" in note for note in prediction.notes)


def test_the_seed_field_repeats_a_sampled_answer_and_another_seed_does_not(loaded: Loader) -> None:
    predictor = loaded("text-generation")
    body = {"inputs": "the meal", "max_new_tokens": 20, "num_return_sequences": 2, "seed": 5}

    first = predictor.predict(body).output

    assert predictor.predict(body).output == first
    assert predictor.predict({**body, "seed": 6}).output != first


def test_beams_give_several_sequences_without_sampling(loaded: Loader) -> None:
    body = {"inputs": "the meal", "num_beams": 3, "num_return_sequences": 2, "do_sample": False}

    prediction = loaded("text-generation").predict({**body, "max_new_tokens": 8})

    assert len(prediction.output) == 2


# Threads


def test_two_calls_at_once_never_hold_the_same_tokenizer(loaded: Loader) -> None:
    readers = loaded("ner")._readers

    with readers.borrow() as one, readers.borrow() as other:
        one["tokenizer"]("the meal was cold", truncation=True, max_length=3)
        ids = other["tokenizer"].backend_tokenizer.encode("the meal was cold").ids

    assert len(ids) > 3


@pytest.mark.parametrize(
    ("task", "bodies"),
    [
        ("ner", [{"inputs": text * count} for text in tinymodels.SENTENCES for count in (1, 40)]),
        (
            "fill-mask",  # a target that is no word is tokenised cut to one token, beside whole texts
            [{"inputs": f"{text * 9} [MASK]", "targets": ["zyx"] * 60} for text in tinymodels.SENTENCES],
        ),
        (
            "zero-shot-classification",
            [{"inputs": t, "candidate_labels": "a,b"} for t in tinymodels.SENTENCES],
        ),
        ("object-detection", [{"url": CATS, "threshold": share / 10} for share in range(1, 9)]),
        (
            "text-generation",
            [{"inputs": "meal", "max_new_tokens": 8, "do_sample": True, "seed": seed} for seed in range(16)],
        ),
    ],
)
def test_eight_threads_on_one_predictor_answer_as_one_thread_does(
    task: str, bodies: list[dict[str, Any]], loaded: Loader
) -> None:
    predictor = loaded(task)
    expected = [predictor.predict(body).output for body in bodies]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: predictor.predict(body).output, bodies * 4))

    assert answers == expected * 4


# Bad requests


@pytest.mark.parametrize(
    ("task", "body", "sentence"),
    [
        ("ner", {"inptus": "x"}, "unknown field 'inptus': did you mean 'inputs'"),
        ("ner", {}, "no input for token-classification: give 'inputs'"),
        ("ner", {"inputs": "x", "text": "y"}, "give one of 'inputs' and 'text', not both"),
        ("ner", {"inputs": []}, "empty list"),
        ("ner", {"inputs": ["x"] * 300}, "300 texts, and one request may have 256"),
        ("ner", {"inputs": "x" * 1_000_001}, "may have 1000000"),
        ("ner", {"inputs": 5}, "must be a text or a list of texts, not int"),
        ("ner", {"inputs": ["x", None]}, "not NoneType"),
        ("ner", {"inputs": {"text": "x"}}, "not dict"),
        ("ner", {"inputs": "half \ud800"}, "lone surrogate"),
        (
            "ner",
            {"inputs": "x", "aggregation_strategy": "exec"},
            "must be one of none, simple, first, average, max",
        ),
        (
            "ner",
            {"inputs": "x", "model_kwargs": {}},
            "'model_kwargs' is not allowed: it would pass anything on",
        ),
        ("fill-mask", {"inputs": "no mask"}, r"the text has no \[MASK\], the place to fill"),
        ("text-classification", {"inputs": "x", "top_k": 0}, "'top_k' must be a whole number from 1 to 1000"),
        ("text-classification", {"inputs": "x", "top_k": True}, "'top_k' must be"),
        (
            "text-generation",
            {"inputs": "x", "max_length": 1e9},
            "'max_length' must be a whole number from 1 to 4096",
        ),
        ("text-generation", {"inputs": "x", "max_length": "12; DROP"}, "'max_length' must be"),
        ("text-generation", {"inputs": "x", "max_length": math.nan}, "'max_length' must be"),
        ("text-generation", {"inputs": "x", "temperature": math.inf}, "'temperature' must be"),
        ("text-generation", {"inputs": "x", "num_return_sequences": 17}, "from 1 to 16"),
        ("text-generation", {"inputs": "x", "max_length": 5, "max_new_tokens": 5}, "not both"),
        ("text-generation", {"inputs": "the meal was cold", "max_length": 2}, "counts the prompt too"),
        ("text-generation", {"inputs": "meal " * 500}, "the model reads 256 in all"),
        ("text-generation", {"inputs": ["x"] * 256, "max_new_tokens": 4096}, "too much for one request"),
        (
            "text-generation",
            {"inputs": "x", "num_return_sequences": 2, "do_sample": False},
            "needs num_beams=2",
        ),
        ("text-generation", {"inputs": "x", "num_return_sequences": 4, "num_beams": 2}, "must not exceed"),
        (
            "text-generation",
            {"inputs": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]},
            "no chat template",
        ),
        ("text-generation", {"inputs": [{"role": "user", "content": [1]}]}, "a chat is a list of"),
        ("text-generation", {"inputs": "x", "custom_generate": "org/code"}, "it runs code"),
        ("zero-shot-classification", {"inputs": "x"}, "also needs the field 'candidate_labels'"),
        ("object-detection", {"inputs": 7}, "must be the address or file name of an image"),
        ("object-detection", {"url": []}, "1 to 16"),
        ("object-detection", {"url": "file:///etc/passwd"}, "starts with 'file:', which is not allowed"),
        ("object-detection", {"url": "dog.jpg"}, "no image 'dog.jpg' in the upload folder"),
        ("object-detection", {"url": CATS, "threshold": 7}, "'threshold' must be a number from 0 to 1"),
    ],
)
def test_a_bad_request_gets_a_sentence(
    task: str, body: dict[str, Any], sentence: str, loaded: Loader
) -> None:
    with pytest.raises(BadRequest, match=sentence):
        loaded(task).predict(body)


def test_a_predictor_still_answers_after_a_bad_request(loaded: Loader) -> None:
    predictor = loaded("text-generation")
    with pytest.raises(BadRequest):
        predictor.predict({"inputs": "meal " * 500})

    assert predictor.predict({"inputs": "meal", "max_new_tokens": 2}).output


def test_the_errors_are_of_the_kinds_that_doors_tell_apart(loaded: Loader) -> None:
    with pytest.raises(UnknownName):
        loaded("ner").predict({"inptus": "x"})
    with pytest.raises(Refused):
        loaded("ner").predict({"inputs": "x", "trust_remote_code": True})


# Settings and tasks


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"trust_remote_code": "true"},
            "'trust_remote_code' is not allowed: it runs code that came with the model",
        ),
        ({"model_kwargs": "{}"}, "'model_kwargs' is not allowed"),
        ({"pipeline_class": "os.system"}, "'pipeline_class' is not allowed"),
        ({"device_map": "auto"}, "'device_map' is not allowed: .*use 'device'"),
        ({"agregation_strategy": "simple"}, "did you mean 'aggregation_strategy'"),
        ({"aggregation_strategy": "best"}, "must be one of none, simple"),
        ({"torch_dtype": "float128"}, "'torch_dtype' must be one of auto, float32"),
        ({"dtype": "fp32", "torch_dtype": "fp16"}, "given twice"),
        ({"device": "cuda:0; rm"}, "'device' must be cpu"),
        ({"device": "cuda:99"}, "is not on this machine"),
        ({"num_labels": "many"}, "'num_labels' must be a whole number"),
        ({"framework": "tf"}, "must be one of pt"),
        ({"top_k": "3"}, "unknown setting 'top_k'"),
    ],
)
def test_a_setting_off_the_list_or_out_of_bounds_is_refused_by_name(
    options: dict[str, str], sentence: str, models: Callable[[str], Path]
) -> None:
    with pytest.raises(BadSettings, match=sentence):
        load(models("ner"), "ner", options)


@pytest.mark.parametrize(
    ("task", "kind", "sentence"),
    [
        ("text-generaton", UnknownName, "did you mean 'text-generation'"),
        ("os.system", UnknownName, "unknown task 'os.system'"),
        ("summarization", BadSettings, "transformers 5 has no task 'summarization'"),
        ("translation_en_to_fr", BadSettings, "use text-generation"),
        ("video-classification", BadSettings, "is not served"),
    ],
)
def test_a_task_that_is_not_served_is_a_sentence(
    task: str, kind: type[Exception], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=sentence):
        load(tmp_path, task, {})


def test_every_served_task_is_one_that_transformers_has() -> None:
    from transformers.pipelines import PIPELINE_REGISTRY
    from transformers.pipelines import SUPPORTED_TASKS as known

    assert set(TASKS) <= set(known)
    assert {*TASKS, *NOT_SERVED} >= set(PIPELINE_REGISTRY.get_supported_tasks()) - {
        "ner",
        "sentiment-analysis",
    }


def test_the_precision_of_the_settings_is_the_precision_of_the_weights(loaded: Loader) -> None:
    predictor = loaded("text-classification", torch_dtype="bf16")

    assert predictor.facts().precision == "bf16"
    assert is_json(predictor.predict({"inputs": "cold"}).output)


# Model folders


def test_an_encoder_without_a_head_answers_the_same_each_time_and_says_it_is_untrained(
    models: Callable[[str], Path],
) -> None:
    folder, body = models("feature-extraction"), {"inputs": "This was a really bad experience"}

    first = load(folder, "text-classification", {"num_labels": "5"})
    second = load(folder, "text-classification", {"num_labels": "5"})

    assert first.head_untrained
    assert len(first.predict({**body, "top_k": None}).output) == 5
    assert first.predict(body).output == second.predict(body).output
    assert "no trained head for text-classification" in first.predict(body).notes[0]
    assert first.facts().head_untrained


def test_another_number_of_labels_makes_the_head_untrained(models: Callable[[str], Path]) -> None:
    predictor = load(models("text-classification"), "text-classification", {"num_labels": "3"})

    assert predictor.head_untrained
    assert len(predictor.predict({"inputs": "cold", "top_k": None}).output) == 3


def test_a_trained_head_is_not_called_untrained(loaded: Loader, models: Callable[[str], Path]) -> None:
    assert not loaded("text-classification").head_untrained
    assert not load(models("fill-mask"), "feature-extraction", {}).head_untrained


def test_the_facts_are_read_from_the_model(loaded: Loader) -> None:
    facts = loaded("ner").facts()

    assert facts.task == "token-classification"
    assert facts.family == "tokenClassification"
    assert facts.architecture == "BertForTokenClassification"
    assert facts.class_path == "transformers.models.bert.modeling_bert.BertForTokenClassification"
    assert (facts.framework, facts.layers, facts.precision) == ("transformers", 2, "fp32")
    assert facts.parameters > 10_000
    assert facts.foundation_model is None


def test_a_model_saved_with_a_timm_backbone_is_read_without_timm(tmp_path: Path, source: ImageSource) -> None:
    folder = tinymodels.build_timm_detr(tmp_path / "detr")

    predictor = load(folder, "object-detection", {}, images=source)

    assert not predictor.head_untrained
    assert predictor.predict({"url": CATS}).output


def test_a_tokenizer_in_a_sentencepiece_file_is_read(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    folder = tinymodels.build_camembert(tmp_path / "camembert-ner")

    predictor = load(folder, "ner", {"aggregation_strategy": "simple"})

    assert predictor.predict({"inputs": "George Washington lived in washington"}).output
    assert predictor.predict({"inputs": "the meal " * 100}).input_tokens == 64


def test_a_sentencepiece_file_without_its_reader_says_what_to_install(
    tmp_path: Path, models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(models("ner"), tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CamembertTokenizer"}')
    (folder / "sentencepiece.bpe.model").write_bytes(b"pieces")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)

    with pytest.raises(ModelError, match="pip install sentencepiece protobuf"):
        load(folder, "ner", {})


@pytest.mark.parametrize(
    ("name", "content", "kind", "sentence"),
    [
        (
            "config.json",
            '{"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}}',
            ModelError,
            "'auto_map'.*run code",
        ),
        ("config.json", '{"custom_pipelines": {}}', ModelError, "'custom_pipelines'"),
        ("tokenizer_config.json", '{"auto_map": {}}', ModelError, "tokenizer_config.json .*'auto_map'"),
        ("config.json", "{", ModelCorrupt, "is not JSON"),
        ("config.json", "[]", ModelCorrupt, "not a JSON object"),
        ("config.json", '{"model_type": "nonsense"}', ModelError, "config.json of .* cannot be used"),
        ("config.json", None, ModelError, "it is not a model folder"),
        ("adapter_config.json", "{}", ModelError, "is an adapter, not a whole model"),
        ("model.safetensors", "not safetensors", ModelCorrupt, "are damaged"),
        ("model.safetensors", None, ModelError, "no weights"),
    ],
)
def test_a_folder_that_is_no_safe_whole_model_is_refused(
    name: str,
    content: str | None,
    kind: type[Exception],
    sentence: str,
    tmp_path: Path,
    models: Callable[[str], Path],
) -> None:
    folder = Path(shutil.copytree(models("ner"), tmp_path / "model"))
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)

    with pytest.raises(kind, match=sentence):
        load(folder, "ner", {})


def test_weights_as_pickle_only_are_refused_and_never_opened(
    tmp_path: Path, models: Callable[[str], Path]
) -> None:
    folder = Path(shutil.copytree(models("ner"), tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(ModelError, match=r"only pytorch_model.bin, a format that can run code"):
        load(folder, "ner", {})


def test_a_model_that_cannot_do_the_task_is_a_sentence(models: Callable[[str], Path]) -> None:
    with pytest.raises(
        ModelError, match=r"is a vit \(ViTForImageClassification\), which cannot do object-detection"
    ):
        load(models("image-classification"), "object-detection", {})


def test_weights_of_another_model_are_not_taken_for_an_untrained_head(
    tmp_path: Path, models: Callable[[str], Path]
) -> None:
    folder = Path(shutil.copytree(models("ner"), tmp_path / "model"))
    shutil.copy(models("text-generation") / "model.safetensors", folder)

    with pytest.raises(ModelCorrupt, match=r"do not belong to its config.json"):
        load(folder, "ner", {})


def test_loading_and_answering_open_no_connection(
    models: Callable[[str], Path], source: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    folders = {task: models(task) for task in ("ner", "text-generation", "object-detection")}
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    answers = [
        load(folders["ner"], "ner", {}).predict({"inputs": "cold"}),
        load(folders["text-generation"], "text-generation", {}).predict({"inputs": "a", "max_new_tokens": 2}),
        load(folders["object-detection"], "object-detection", {}, images=source).predict({"url": CATS}),
    ]

    assert all(answer.output for answer in answers)


# Results


def test_results_are_plain_json_whatever_the_pipeline_gives() -> None:
    import numpy
    import torch

    plain = make_plain(
        {
            "number": numpy.float32(0.5),
            "count": numpy.int64(3),
            "flag": numpy.bool_(True),
            "nan": float("nan"),
            "infinite": [numpy.inf, 1.0],
            "tensor": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
            "pair": (1, "two"),
            3: None,
        }
    )

    assert plain.value == {
        "number": 0.5,
        "count": 3,
        "flag": True,
        "nan": None,
        "infinite": [None, 1.0],
        "tensor": [1.0, 2.0],
        "pair": [1, "two"],
        "3": None,
    }
    assert plain.pictures == ()


def test_masks_and_large_arrays_leave_the_result_as_pictures_and_summaries() -> None:
    import numpy

    mask = numpy.zeros((4, 6), dtype=bool)

    plain = make_plain({"mask": mask, "masks": numpy.stack([mask, ~mask]), "depth": numpy.zeros((300, 300))})

    assert plain.value["mask"]["width"] == 6
    assert plain.value["depth"] == {"shape": [300, 300], "min": 0.0, "max": 0.0}
    assert [picture.kind for picture in plain.pictures] == ["mask"] * 3
    assert plain.pictures[0].name == plain.pictures[1].name != plain.pictures[2].name
    assert "90000 numbers" in plain.notes[0]


@pytest.mark.parametrize(
    ("rows", "ends", "expected"),
    [
        ([[9, 9, 1, 2, 3]], 0, 3),
        ([[9, 9, 1, 0, 0]], 0, 2),
        ([[9, 9, 0, 0, 0]], [0], 1),
        ([[9, 9, 1, 2, 3]], None, 3),
    ],
)
def test_written_tokens_are_counted_up_to_their_end(rows: list[list[int]], ends: Any, expected: int) -> None:
    import torch

    assert generation.count_written(torch.tensor([rows]), 2, ends) == expected


def test_importing_the_predictor_loads_no_heavy_library() -> None:
    code = (
        "import sys, wattbus.ml.pipelines; "
        "print([name for name in ('torch', 'transformers', 'numpy', 'PIL') if name in sys.modules])"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
