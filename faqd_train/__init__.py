"""The training system: FA and FFA in torch, quantizers, and distillation that uses both."""

try:
    import pydantic  # noqa: F401  (these three are probed here so that the message names the extra)
    import safetensors  # noqa: F401
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"faqd_train needs {error.name}, which is not installed: pip install 'faqd[train]'."
    ) from error

from faqd_train.config.files import load_config
from faqd_train.config.schema import Config
from faqd_train.losses.affinity import fa_loss, ffa_loss
from faqd_train.quantization.activations import calibrate
from faqd_train.quantization.model import quantize_model
from faqd_train.runs.load import load_run
from faqd_train.runs.run import run_experiment
from faqd_train.training.distill import distill

__all__ = [
    "Config",
    "calibrate",
    "distill",
    "fa_loss",
    "ffa_loss",
    "load_config",
    "load_run",
    "quantize_model",
    "run_experiment",
]
