"""A study or a series of a DICOMweb archive."""

from __future__ import annotations

from pathlib import Path

from ..location import Uri
from .http import Connection, Tick
from .received import Received, received_files

__all__ = ["ArchivedImages"]


class ArchivedImages:
    """The CT images of a study, or all of a series.

    Attributes
    ----------
    uri : Uri
    source : str
        The URI; it holds no secrets.
    """

    def __init__(self, uri: Uri) -> None:
        self.uri, self.source = uri, str(uri)

    def fetch(self, connection: Connection, folder: Path, *, limit: int, tick: Tick | None = None) -> Received:
        """Write the images to a folder; errors as of `DicomWeb.retrieve`."""
        from ..dicomweb import open_dicomweb

        with open_dicomweb(self.uri) as archive:
            return received_files(folder, archive.retrieve(folder, limit=limit, tick=tick))
