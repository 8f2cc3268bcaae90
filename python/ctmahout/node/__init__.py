"""A DICOM node: CT series in by C-STORE, derived series out by C-STORE; needs the extra ``serve``."""

from __future__ import annotations

from .config import NodeConfig

__all__ = ["NodeConfig", "serve"]


def serve(config: NodeConfig) -> None:
    """Run a node until it is interrupted.

    Parameters
    ----------
    config : NodeConfig

    Raises
    ------
    ConfigError
        CTM_EXTRA_MISSING: a package of the extra is not installed. CTM_NODE_CERTIFICATE.
    OutputError
        CTM_NODE_BUSY, CTM_NODE_PORT, CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    from .command import run

    run(config)
