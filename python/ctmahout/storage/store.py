"""An object store: the only module beside ``exchange`` that knows pyarrow, whose file systems do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pyarrow import ArrowInvalid, fs

from ..errors import ConfigError, CtmahoutError
from .environment import endpoint, region, unsigned
from .location import Uri

__all__ = ["Store", "each", "told"]

T = TypeVar("T")
# A store that asks to slow down is asked again, after waits that double: two minutes in all, about.
_ATTEMPTS = 10
_CONNECT_S, _REQUEST_S = 10, 60
# Most of what is copied are slices of half a megabyte, where a request waits longer than it works.
_AT_ONCE = 16


@dataclass(frozen=True)
class Store:
    """What lies at a URI and below.

    Attributes
    ----------
    uri : Uri
    system : pyarrow.fs.FileSystem
    """

    uri: Uri
    system: Any

    @classmethod
    def of(cls, uri: Uri) -> Store:
        """Return the store of a URI, with the credentials and the endpoint that the environment has.

        Raises
        ------
        ConfigError
            CTM_LOCATION_INVALID: pyarrow knows no such scheme.
        """
        try:
            system = (
                _s3(uri.bucket) if uri.scheme == "s3" else fs.FileSystem.from_uri(f"{uri.scheme}://{uri.bucket}")[0]
            )
        except (ArrowInvalid, NotImplementedError) as e:
            raise ConfigError("CTM_LOCATION_INVALID", location=uri, problem=_first_line(e)) from None
        return cls(uri, system)

    def file(self) -> bool:
        """Tell whether the URI is that of one object."""
        return bool(self.system.get_file_info(self.uri.path).type == fs.FileType.File)

    def bucket(self) -> bool:
        """Tell whether the bucket is there, as far as one may know."""
        with suppress(OSError):  # whoever may use one prefix need not be allowed to ask
            return bool(self.system.get_file_info(self.uri.bucket).type != fs.FileType.NotFound)
        return True

    def names(self) -> list[str]:
        """Return the names of all objects below the URI, relative to it."""
        selector = fs.FileSelector(self.uri.path, recursive=True, allow_not_found=True)
        found = self.system.get_file_info(selector)
        return [i.path[len(self.uri.path) + 1 :] for i in found if i.type == fs.FileType.File]

    def folders(self) -> list[str]:
        """Return the names of the prefixes right below the URI."""
        found = self.system.get_file_info(fs.FileSelector(self.uri.path, allow_not_found=True))
        return [i.base_name for i in found if i.type == fs.FileType.Directory]

    def download(self, name: str, target: Path) -> None:
        """Copy an object to a new file."""
        _copy(self._path(name), self.system, str(target), fs.LocalFileSystem())

    def upload(self, source: Path, name: str = "") -> None:
        """Copy a file to an object; the object appears whole."""
        _copy(str(source), fs.LocalFileSystem(), self._path(name), self.system)

    def put(self, name: str, content: bytes) -> None:
        with self.system.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def get(self, name: str) -> bytes:
        with self.system.open_input_stream(self._path(name)) as stream:
            return bytes(stream.read())

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.system.delete_file(self._path(name))

    def clear(self) -> None:
        """Remove everything below the URI."""
        with suppress(FileNotFoundError):
            self.system.delete_dir(self.uri.path)

    def missing(self) -> list[str]:
        """Return those of the URI and the prefixes above it that are not there, the deepest first."""
        places = [
            str(p) for p in (PurePosixPath(self.uri.path), *PurePosixPath(self.uri.path).parents) if "/" in str(p)
        ]
        found = self.system.get_file_info(places)
        return [i.path for i in found if i.type == fs.FileType.NotFound]

    def forget(self, prefixes: Iterable[str]) -> None:
        """Remove the empty objects by which pyarrow keeps a prefix alive after its last file is gone."""
        for prefix in prefixes:
            if not self.system.get_file_info(fs.FileSelector(prefix, allow_not_found=True)):
                with suppress(FileNotFoundError):
                    self.system.delete_dir(prefix)

    def _path(self, name: str) -> str:
        return f"{self.uri.path}/{name}" if name else self.uri.path


def _copy(source: str, of: Any, target: str, to: Any) -> None:
    fs.copy_files(source, target, source_filesystem=of, destination_filesystem=to, use_threads=False)
    sizes = [system.get_file_info(path).size for path, system in ((source, of), (target, to))]
    if sizes[0] != sizes[1]:
        raise OSError(f"{PurePosixPath(source).name} has {sizes[0]} bytes, its copy {sizes[1]}")


def each(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do something with each item, many at once; the first failure, or Ctrl-C, stops what has not begun."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for future in [pool.submit(work, item) for item in items]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def told(code: str, uri: Uri) -> Iterator[None]:
    """Turn what a store answers into an error of ours."""
    try:
        yield
    except (OSError, ArrowInvalid) as e:
        raise CtmahoutError(code, path=uri, problem=_first_line(e)) from e


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _s3(bucket: str) -> Any:
    options: dict[str, Any] = {
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        "connect_timeout": _CONNECT_S,
        "request_timeout": _REQUEST_S,
        "anonymous": unsigned(),
    }
    if url := endpoint():
        parts = urlsplit(url)
        return fs.S3FileSystem(endpoint_override=parts.netloc, scheme=parts.scheme, region=region(), **options)
    return fs.S3FileSystem(region=fs.resolve_s3_region(bucket), **options)
