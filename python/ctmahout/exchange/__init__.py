"""The exchange between Python and the JVM: arrays in, Parquet directories out, and back (contract/v1/README.md).

A directory with its ``_ctmahout.json`` is complete. Every value read has passed page checksums, the checks of the
contract in its order, and the checksum of its group.
"""

from __future__ import annotations

from .arrays import read_arrays
from .checksum import checksum
from .factors import Factors, Svd, read_all_factors, read_factors, write_factors
from .manifest import Group, Manifest, is_exchange, is_manifest, is_sidecar, read_manifest
from .matrices import read_matrices, read_matrix, write_matrix
from .model_store import DamagedModel, StoredModel, add_model, is_damage, list_models, open_model, refuse_no_store
from .models import write_model
from .table import read_table, write_table

__all__ = [
    "DamagedModel",
    "Factors",
    "Group",
    "Manifest",
    "StoredModel",
    "Svd",
    "add_model",
    "checksum",
    "is_damage",
    "is_exchange",
    "is_manifest",
    "is_sidecar",
    "list_models",
    "open_model",
    "read_all_factors",
    "read_arrays",
    "read_factors",
    "read_manifest",
    "read_matrices",
    "read_matrix",
    "read_table",
    "refuse_no_store",
    "write_factors",
    "write_matrix",
    "write_model",
    "write_table",
]
