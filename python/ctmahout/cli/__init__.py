"""The command line: ``ctmahout``."""

from __future__ import annotations

import logging
import sys

import click

from ..errors import CtmahoutError, Interrupted
from .output import report_error, terminable
from .verbs import ctmahout

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 2 usage, 3 input, 4 exchange, 5 engine, 6 output, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # What libraries log of an error is told as an error of ours; py4j logs tracebacks through the root logger.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        with terminable():
            code = ctmahout.main(arguments, prog_name="ctmahout", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as e:
        e.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        error: CtmahoutError = Interrupted("CTM_INTERRUPTED")
    except CtmahoutError as e:
        error = e
    except RuntimeError as e:
        # Python wraps Ctrl-C like this if it comes while a module that is being imported makes a class.
        if not isinstance(e.__cause__, KeyboardInterrupt):
            raise
        error = Interrupted("CTM_INTERRUPTED")
    except BrokenPipeError:  # the reader of our output went away, as in `ctmahout inspect | head`
        sys.stderr.close()
        sys.exit(0)
    report_error(error, as_json="--json" in arguments)
    sys.exit(error.exit_code)
