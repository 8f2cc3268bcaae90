"""Archives that speak DICOMweb (PS3.18): a study or a series into a folder, images into the archive.

The extra ``dicomweb`` has the client. Credentials come from the environment, as for every server: a user and a password
from ~/.netrc, a token from CTMAHOUT_DICOMWEB_TOKEN; certificates are those of REQUESTS_CA_BUNDLE.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from pydicom.errors import InvalidDicomError

from ..errors import ConfigError, InputError
from .download.http import Tick, connection_error, open_session, status_error
from .location import Uri

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

__all__ = ["TOKEN", "DicomWeb", "FoundSeries", "open_dicomweb", "retrieve"]

TOKEN = "CTMAHOUT_DICOMWEB_TOKEN"
"""The variable of a bearer token."""

_UID = r"[0-9]+(?:\.[0-9]+)*"
_KEY = re.compile(rf"(?P<root>.*?)(?:(?:^|/)studies/(?P<study>{_UID})(?:/series/(?P<series>{_UID}))?)?")
# To connect, and between two chunks: an archive may have to fetch a series from tape first.
_TIMEOUTS_S = (10, 120)
# As it is stored: a transcoded image is another one.
_AS_STORED = (("application/dicom", "*"),)
_NO_LIMIT = 1 << 62
_LARGEST_BODY = 1 << 30
# What the client raises of an answer that is no DICOM JSON, no multipart message or no DICOM file.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, EOFError, NotImplementedError, InvalidDicomError)


def retrieve(uri: Uri, folder: Path) -> None:
    """Write the CT images of a study, or all of a series, into a folder; errors as of `DicomWeb.retrieve`."""
    with open_dicomweb(uri) as archive:
        archive.retrieve(folder, limit=_NO_LIMIT)


@dataclass(frozen=True)
class FoundSeries:
    """A series in an archive.

    Attributes
    ----------
    study, series : str
        UIDs.
    images : int
        How many the archive has; 0 if it does not say.
    """

    study: str
    series: str
    images: int


@contextmanager
def open_dicomweb(uri: Uri, *, tls: ssl.SSLContext | None = None) -> Iterator[DicomWeb]:
    """Yield a connection to an archive. Nothing is sent yet.

    Parameters
    ----------
    uri : Uri
    tls : ssl.SSLContext, optional
        With further authorities, or a certificate of our own.

    Raises
    ------
    ConfigError
        CTM_EXTRA_MISSING: dicomweb-client is not installed. CTM_LOCATION_INVALID: it names neither an archive, nor a
        study nor a series.
    """
    try:
        import dicomweb_client
    except ImportError as e:
        raise ConfigError("CTM_EXTRA_MISSING", what="DICOMweb", package="dicomweb-client", extra="dicomweb") from e
    parts = _KEY.fullmatch(uri.key)
    if parts is None or re.search(r"(^|/)(studies|series|instances)(/|$)", parts["root"]):
        problem = "expected ROOT, ROOT/studies/UID or ROOT/studies/UID/series/UID after the host"
        raise ConfigError("CTM_LOCATION_INVALID", location=uri, problem=problem)
    # Its messages hold UIDs.
    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
    address = f"{uri.scheme.removeprefix('dicomweb+')}://{uri.bucket}/{parts['root']}".rstrip("/")
    with open_session(retry_posts=True, tls=tls) as session, closing(_Answers()) as answers:
        session.headers["User-Agent"] = "ctmahout"
        get = session.get
        # Wildcards need not be escaped (RFC 3986 3.4), and Orthanc's plugin takes %2A for three letters.
        session.get = lambda url, **options: get(  # type: ignore[method-assign]
            str(url).replace("%2A", "*").replace("%3F", "?"), **options
        )
        if token := os.environ.get(TOKEN):
            session.headers["Authorization"] = f"Bearer {token}"
        try:
            client = dicomweb_client.DICOMwebClient(
                address,
                session=session,
                callback=answers,
                timeout=_TIMEOUTS_S,
            )
        except ValueError:
            problem = "this is no host of an archive"
            raise ConfigError("CTM_LOCATION_INVALID", location=uri, problem=problem) from None
        client.set_http_retry_params(retry=False)
        yield DicomWeb(client, uri, parts["study"], parts["series"])


class DicomWeb:
    """An archive, or a study or a series in one."""

    def __init__(self, client: DICOMwebClient, uri: Uri, study: str | None, series: str | None) -> None:
        self._client, self.uri, self._study, self._series = client, uri, study, series

    def check(self) -> None:
        """Ask for one study before images are stored, to see whether the archive answers, and answers us.

        Raises
        ------
        InputError
            CTM_FETCH_FORBIDDEN, CTM_FETCH_CERTIFICATE, CTM_FETCH_UNAVAILABLE: there is no connection. An archive that
            does not search is none of these: it may store.
        """
        self._refuse_series()
        try:
            self._client.search_for_studies(limit=1, fields=["StudyInstanceUID"])
        except _UNREADABLE:
            pass
        except requests.RequestException as e:
            error = self._error(e)
            if e.response is None or error.code == "CTM_FETCH_FORBIDDEN":
                raise error from e

    def find_series(self, filters: Mapping[str, str]) -> list[FoundSeries]:
        """Return the series of all studies whose attributes match, by QIDO-RS (PS3.18 10.6).

        Parameters
        ----------
        filters : mapping
            Keywords of attributes of studies and series, and what they must match (PS3.4 C.2.2.2).

        Raises
        ------
        InputError
            CTM_FETCH_FORBIDDEN, CTM_FETCH_CERTIFICATE, CTM_FETCH_UNAVAILABLE, CTM_FETCH_NOT_FOUND.
        """
        fields = ["StudyInstanceUID", "SeriesInstanceUID", "NumberOfSeriesRelatedInstances"]
        with self._errors():
            rows = self._client.search_for_series(search_filters=dict(filters), fields=fields, get_remaining=True)
            matching = [
                FoundSeries(_value(row, "0020000D"), _value(row, "0020000E"), int(_value(row, "00201209") or 0))
                for row in rows
            ]
        # They become parts of addresses.
        return [one for one in matching if re.fullmatch(_UID, one.study) and re.fullmatch(_UID, one.series)]

    def retrieve(self, folder: Path, *, limit: int, tick: Tick | None = None) -> list[str]:
        """Write images into a folder, each as it is stored, and return their names.

        Of a study only its CT series are asked for, by QIDO-RS (PS3.18 10.6); a series is taken as it is. Images come
        by WADO-RS (10.4) in one stream for each series; those that the stream lacks are asked for one by one.

        Parameters
        ----------
        folder : Path
        limit : int, bytes
        tick : callable, optional
            Called with bytes received, and 0.

        Raises
        ------
        InputError
            CTM_FETCH_NOT_FOUND, CTM_FETCH_FORBIDDEN, CTM_FETCH_CERTIFICATE, CTM_FETCH_UNAVAILABLE,
            CTM_FETCH_TOO_LARGE. CTM_FETCH_INCOMPLETE: images are missing or cut off. CTM_INPUT_NO_CT: the study has no
            CT series.
        ConfigError
            CTM_LOCATION_INVALID: neither a study nor a series is named.
        """
        if self._study is None:
            problem = "it names neither a study nor a series, as in ROOT/studies/UID/series/UID"
            raise ConfigError("CTM_LOCATION_INVALID", location=self.uri, problem=problem)
        names: list[str] = []
        size = 0
        for number, series in enumerate(self._series_uids(), 1):
            place = f"{number:03}"
            (folder / place).mkdir()
            for count, image in enumerate(self._images(series), 1):
                name = f"{place}/{count:05}.dcm"
                image.save_as(folder / name)
                names.append(name)
                size += (folder / name).stat().st_size
                if size > limit:
                    raise InputError("CTM_FETCH_TOO_LARGE", source=self.uri, limit=limit)
                if tick:
                    tick(size, 0)
        return names

    def _series_uids(self) -> list[str]:
        """Return the series that is asked for, or the CT series of the study."""
        if self._series:
            return [self._series]
        with self._errors():
            rows = self._client.search_for_series(self._study, fields=["SeriesInstanceUID", "Modality"])
            series = sorted((_value(row, "0020000E"), _value(row, "00080060")) for row in rows)
        if not series:
            raise InputError("CTM_FETCH_NOT_FOUND", source=self.uri, problem="the archive has no such study")
        uids = [uid for uid, modality in series if modality == "CT"]
        if not uids:
            others = ", ".join(sorted({modality or "no modality" for _, modality in series}))
            raise InputError("CTM_INPUT_NO_CT", path=self.uri, found=f"series of {others}")
        return uids

    def _images(self, series: str) -> Iterator[Any]:
        """Yield the images of a series, each once."""
        with self._errors():
            # Archives give so many rows at a time as they like.
            rows = self._client.search_for_instances(self._study, series, fields=["SOPInstanceUID"], get_remaining=True)
            missing = {_value(row, "00080018") for row in rows}
        if not missing:
            raise InputError("CTM_FETCH_NOT_FOUND", source=self.uri, problem="the archive has no such series")
        expected = len(missing)
        try:
            for image in self._client.iter_series(self._study, series, media_types=_AS_STORED):
                if (uid := _uid_of(image)) in missing:
                    missing.discard(uid)
                    yield image
        except _UNREADABLE:
            pass  # what the stream lacks is asked for again
        except requests.RequestException as e:
            if e.response is not None:
                raise self._error(e) from e
        for uid in sorted(missing):
            with self._errors():
                image = self._client.retrieve_instance(self._study, series, uid, media_types=_AS_STORED)
            if _uid_of(image) != uid:
                break
            missing.discard(uid)
            yield image
        if missing:
            received = f"{expected - len(missing)} images"
            raise InputError("CTM_FETCH_INCOMPLETE", source=self.uri, given=received, expected=str(expected))

    def store(self, image: Any) -> bool:
        """Store an image by STOW-RS (PS3.18 10.5); returns whether the archive warns of it.

        Raises
        ------
        InputError
            CTM_FETCH_FORBIDDEN, CTM_FETCH_CERTIFICATE, CTM_FETCH_UNAVAILABLE, CTM_FETCH_NOT_FOUND.
        ConfigError
            CTM_LOCATION_INVALID: the location is that of a series.
        """
        self._refuse_series()
        # Larger bodies would be sent in chunks, and could not be sent again.
        self._client.set_chunk_size(_LARGEST_BODY)
        with self._errors():
            answer = self._client.store_instances([image], self._study)
        if failed := answer.get("FailedSOPSequence"):
            reason = failed[0].get("FailureReason", 0)
            raise InputError("CTM_FETCH_UNAVAILABLE", source=self.uri, problem=f"it refuses the image (0x{reason:04X})")
        return any("WarningReason" in item for item in answer.get("ReferencedSOPSequence") or ())

    def _refuse_series(self) -> None:
        if self._series:
            problem = "images are stored in an archive or in a study, not in a series"
            raise ConfigError("CTM_LOCATION_INVALID", location=self.uri, problem=problem)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of the client as ours."""
        try:
            yield
        except _UNREADABLE as e:  # requests' error of JSON is one of both kinds
            problem = "its answer is not what DICOMweb asks for"
            raise InputError("CTM_FETCH_UNAVAILABLE", source=self.uri, problem=problem) from e
        except requests.RequestException as e:
            raise self._error(e) from e

    def _error(self, e: requests.RequestException) -> InputError:
        if isinstance(e, requests.exceptions.ChunkedEncodingError):
            return InputError(
                "CTM_FETCH_INCOMPLETE", source=self.uri, given="a part of an answer", expected="all of it"
            )
        if e.response is None:
            return connection_error(str(self.uri), e)
        error = status_error(str(self.uri), e.response)
        assert error is not None
        if error.code == "CTM_FETCH_FORBIDDEN":
            error.append_hint(f"A bearer token goes into {TOKEN}.")
        return error


def _value(row: dict[str, Any], tag: str) -> str:
    """Return the first value of an attribute in DICOM JSON (PS3.18 F); empty if there is none."""
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _uid_of(image: Any) -> str:
    return str(image.file_meta.MediaStorageSOPInstanceUID)


class _Answers:
    """A hook for answers: it closes the one before, which the client may have left, and checks multipart messages.

    Reading a message without its closing delimiter fails at its end, since its last part is cut off; the client takes
    what is there for a whole image.
    """

    def __init__(self) -> None:
        self._last: requests.Response | None = None

    def __call__(self, response: requests.Response, *args: Any, **kwargs: Any) -> None:
        self.close()
        self._last = response
        boundary = re.search(r'boundary="?([^";]+)', response.headers.get("Content-Type", ""))
        if boundary is None:
            return
        delimiter, iter_content = f"--{boundary[1]}--".encode(), response.iter_content

        def chunks(*args: Any, **kwargs: Any) -> Iterator[bytes]:
            end = b""
            for chunk in iter_content(*args, **kwargs):
                end = (end + chunk)[-len(delimiter) - 64 :]
                yield chunk
            if delimiter not in end:
                raise requests.exceptions.ChunkedEncodingError

        response.iter_content = chunks  # type: ignore[method-assign]

    def close(self) -> None:
        if self._last is not None:
            self._last.close()
