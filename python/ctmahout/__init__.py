"""Denoise CT series with Apache Mahout's distributed stochastic SVD on Apache Spark.

Nothing starts and nothing heavy is loaded until one of the names below is used.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arrays import read_array as read_array
    from .arrays import write_array as write_array
    from .cohort import learn as learn
    from .config import Config as Config
    from .decomposition import dssvd as dssvd
    from .decomposition import factorise as factorise
    from .dicom import Derivation as Derivation
    from .dicom import read_series as read_series
    from .dicom import write_series as write_series
    from .doctor import check_environment as check_environment
    from .engine import connect as connect
    from .engine import spark_builder as spark_builder
    from .errors import ConfigError as ConfigError
    from .errors import CtmahoutError as CtmahoutError
    from .errors import CtmahoutWarning as CtmahoutWarning
    from .errors import EngineError as EngineError
    from .errors import ExchangeError as ExchangeError
    from .errors import InputError as InputError
    from .errors import Interrupted as Interrupted
    from .errors import OutputError as OutputError
    from .exchange import Factors as Factors
    from .outcome import Denoised as Denoised
    from .pipeline import denoise as denoise
    from .pipeline import prepare as prepare
    from .pipeline import reconstruct as reconstruct
    from .pipeline import refine as refine
    from .rank import choose_rank as choose_rank
    from .retrieval import fetch as fetch
    from .study import denoise_study as denoise_study
    from .volume import Geometry as Geometry
    from .volume import Volume as Volume

_HOME = {
    "Config": "config",
    "ConfigError": "errors",
    "CtmahoutError": "errors",
    "CtmahoutWarning": "errors",
    "Denoised": "outcome",
    "Derivation": "dicom",
    "EngineError": "errors",
    "ExchangeError": "errors",
    "Factors": "exchange",
    "Geometry": "volume",
    "InputError": "errors",
    "Interrupted": "errors",
    "OutputError": "errors",
    "Volume": "volume",
    "check_environment": "doctor",
    "choose_rank": "rank",
    "connect": "engine",
    "denoise": "pipeline",
    "denoise_study": "study",
    "dssvd": "decomposition",
    "factorise": "decomposition",
    "fetch": "retrieval",
    "learn": "cohort",
    "prepare": "pipeline",
    "read_array": "arrays",
    "read_series": "dicom",
    "reconstruct": "pipeline",
    "refine": "pipeline",
    "spark_builder": "engine",
    "write_array": "arrays",
    "write_series": "dicom",
}

__all__ = sorted([*_HOME, "__version__"])

try:
    __version__ = metadata.version("ctmahout")
except metadata.PackageNotFoundError:  # run from a source tree
    __version__ = "0+source"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ctmahout' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
