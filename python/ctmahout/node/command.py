"""What ``ctmahout serve`` does in its process: its log, its signals, its rights for files."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from contextlib import ExitStack

from ..errors import ConfigError
from .config import NodeConfig

__all__ = ["run"]

_PACKAGES = ("pynetdicom", "prometheus_client", "starlette", "uvicorn")
_log = logging.getLogger("ctmahout.node")


def run(config: NodeConfig) -> None:
    """Run a node until SIGINT or SIGTERM."""
    _check_packages(config)
    from .node import Node
    from .page import serve_page

    os.umask(0o077)
    _log_to_stderr()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Node(config) as node, ExitStack() as stack:
        _log.info("%s listens on %s:%d", config.title, config.address, node.receiver.port)
        if config.page:
            _log.info("page at %s", stack.enter_context(serve_page(node, config.page)))
        ended.wait()
        _log.info("stopping; what is in the queue stays there")


def _check_packages(config: NodeConfig) -> None:
    from importlib.util import find_spec

    needed = dict.fromkeys(_PACKAGES, "serve")
    if config.queries or any(destination.archive for destination in config.destinations):
        needed["dicomweb_client"] = "dicomweb"
    for package, extra in needed.items():
        if find_spec(package) is None:
            raise ConfigError("CTM_EXTRA_MISSING", what="A node", package=package, extra=extra)


def _log_to_stderr() -> None:
    """Log what happens to series, by their keys. Libraries quote headers, so they log nothing."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    warnings.simplefilter("ignore")
    for name in ("pynetdicom", "pydicom", "uvicorn"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
