"""The shipped operations: thin translators from a message to a call of ``wattbus.ml`` and back."""

from wattbus.operations.hf import HFOperation
from wattbus.operations.ml import MLOperation
from wattbus.operations.optimise import OptimiseOperation
from wattbus.operations.tuning import TuningOperation
from wattbus.operations.webhook import WebhookOperation

__all__ = ["HFOperation", "MLOperation", "OptimiseOperation", "TuningOperation", "WebhookOperation"]
