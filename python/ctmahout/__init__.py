"""Denoise CT series with Apache Mahout's distributed stochastic SVD on Apache Spark.

Nothing starts and nothing heavy is loaded until one of the names below is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .denoising.slices.rank import choose_rank as choose_rank
    from .dicom import Derivation as Derivation
    from .dicom import read_series as read_series
    from .dicom import write_series as write_series
    from .engines import connect as connect
    from .engines import spark_builder as spark_builder
    from .errors import ConfigError as ConfigError
    from .errors import CtmahoutError as CtmahoutError
    from .errors import CtmahoutWarning as CtmahoutWarning
    from .errors import EngineError as EngineError
    from .errors import ExchangeError as ExchangeError
    from .errors import InputError as InputError
    from .errors import Interrupted as Interrupted
    from .errors import OutputError as OutputError
    from .exchange import Factors as Factors
    from .files import read_array as read_array
    from .files import write_array as write_array
    from .options import Config as Config
    from .volume import Geometry as Geometry
    from .volume import Volume as Volume
    from .workflows.denoise import denoise as denoise
    from .workflows.denoise import denoise_volume as denoise_volume
    from .workflows.doctor import check_environment as check_environment
    from .workflows.dssvd import dssvd as dssvd
    from .workflows.dssvd import factorise as factorise
    from .workflows.fetch import fetch as fetch
    from .workflows.learn import learn as learn
    from .workflows.models import list_models as list_models
    from .workflows.outcome import Denoised as Denoised
    from .workflows.repeat import repeat as repeat
    from .workflows.results import Results as Results
    from .workflows.results import read_results as read_results
    from .workflows.steps import prepare as prepare
    from .workflows.steps import reconstruct as reconstruct
    from .workflows.steps import refine as refine
    from .workflows.study import denoise_study as denoise_study
    from .workflows.verify import verify as verify
    from .workflows.verify import write_expectation as write_expectation

_HOME = {
    "Config": "options",
    "ConfigError": "errors",
    "CtmahoutError": "errors",
    "CtmahoutWarning": "errors",
    "Denoised": "workflows.outcome",
    "Derivation": "dicom",
    "EngineError": "errors",
    "ExchangeError": "errors",
    "Factors": "exchange",
    "Geometry": "volume",
    "InputError": "errors",
    "Interrupted": "errors",
    "OutputError": "errors",
    "Results": "workflows.results",
    "Volume": "volume",
    "check_environment": "workflows.doctor",
    "choose_rank": "denoising.slices.rank",
    "connect": "engines",
    "denoise": "workflows.denoise",
    "denoise_volume": "workflows.denoise",
    "denoise_study": "workflows.study",
    "dssvd": "workflows.dssvd",
    "factorise": "workflows.dssvd",
    "fetch": "workflows.fetch",
    "learn": "workflows.learn",
    "list_models": "workflows.models",
    "prepare": "workflows.steps",
    "read_array": "files",
    "read_results": "workflows.results",
    "read_series": "dicom",
    "reconstruct": "workflows.steps",
    "repeat": "workflows.repeat",
    "refine": "workflows.steps",
    "spark_builder": "engines",
    "verify": "workflows.verify",
    "write_array": "files",
    "write_expectation": "workflows.verify",
    "write_series": "dicom",
}

# In full: griffe, which compares releases, reads it without running it.
__all__ = [
    "Config",
    "ConfigError",
    "CtmahoutError",
    "CtmahoutWarning",
    "Denoised",
    "Derivation",
    "EngineError",
    "ExchangeError",
    "Factors",
    "Geometry",
    "InputError",
    "Interrupted",
    "OutputError",
    "Results",
    "Volume",
    "__version__",
    "check_environment",
    "choose_rank",
    "connect",
    "denoise",
    "denoise_study",
    "denoise_volume",
    "dssvd",
    "factorise",
    "fetch",
    "learn",
    "list_models",
    "prepare",
    "read_array",
    "read_results",
    "read_series",
    "reconstruct",
    "refine",
    "repeat",
    "spark_builder",
    "verify",
    "write_array",
    "write_expectation",
    "write_series",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ctmahout' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
