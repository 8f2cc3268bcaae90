"""The version of the installed package."""

from importlib import metadata

__all__ = ["__version__"]

try:
    __version__ = metadata.version("ctmahout")
except metadata.PackageNotFoundError:  # run from a source tree
    __version__ = "0+source"
