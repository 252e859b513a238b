"""The production that the seed describes: its items, with the settings as its text gives them."""

from __future__ import annotations

from iop import Production

from wattbus.operations import HFOperation, MLOperation, TuningOperation

GPT2 = """
model_url=https://huggingface.co/gpt2
name=gpt2
task=text-generation
"""
OWN = """
name=yourmodelname
task=text-generation
"""
CAMEMBERT = """
name=camembert-ner
model_url=https://huggingface.co/Jean-Baptiste/camembert-ner
task=ner
aggregation_strategy=simple
"""
BERT = """
name=bert-base-uncased
model_url=https://huggingface.co/bert-base-uncased
task=fill-mask
"""
DETR = """
name=detr-resnet-50
model_url=https://huggingface.co/facebook/detr-resnet-50
task=object-detection
"""
PANOPTIC = """
name=detr-resnet-50-panoptic
model_url=https://huggingface.co/facebook/detr-resnet-50-panoptic
task=image-segmentation
"""
TUNING = """
path=/irisdev/app/src/model/
model_name=bert-base-cased
model_url=https://huggingface.co/bert-base-cased
num_labels=5
"""
TUNED = """
name=bert-base-cased
model_url=https://huggingface.co/bert-base-cased
task=text-classification
num_labels=5
"""

#: Repository on the hub -> task of the tiny model that stands in for it.
REPOSITORIES = {
    "gpt2": "text-generation",
    "Jean-Baptiste/camembert-ner": "ner",
    "bert-base-uncased": "fill-mask",
    "facebook/detr-resnet-50": "object-detection",
    "facebook/detr-resnet-50-panoptic": "image-segmentation",
    "bert-base-cased": "fill-mask",
}


def seed_production(router_url: str, api_host: str) -> Production:
    """Return the production; the Hugging Face API is the one at ``router_url``."""
    prod = Production("iris.Production")
    prod.operation(
        "Python.HFOperation", HFOperation, settings={"router_url": router_url, "api_hosts": api_host}
    )
    for name, settings in (
        ("Python.GPT2", GPT2),
        ("Python.Own", OWN),
        ("Python.Camembert", CAMEMBERT),
        ("Python.Bert", BERT),
        ("Python.Detr", DETR),
        ("Python.Panoptic", PANOPTIC),
        ("Python.MLOperation", TUNED),
    ):
        prod.operation(name, MLOperation, settings={"%settings": settings})
    prod.operation("Python.TuningOperation", TuningOperation, settings={"%settings": TUNING})
    return prod
