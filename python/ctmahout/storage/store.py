"""Objects below a URI: list, copy, delete. An adapter of pyarrow's file systems."""

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

__all__ = ["Store", "for_each", "translate_errors"]

T = TypeVar("T")
# Requests are retried with waits that double, for about two minutes in all.
_ATTEMPTS = 10
_CONNECT_S, _REQUEST_S = 10, 60
# Most objects are slices of half a megabyte, whose transfer is dominated by latency.
_THREADS = 16


@dataclass(frozen=True)
class Store:
    """The objects at and below a URI.

    Names of objects are relative to the URI; the empty name is the object at the URI itself.

    Attributes
    ----------
    uri : Uri
    system : pyarrow.fs.FileSystem
    """

    uri: Uri
    system: Any

    @classmethod
    def open(cls, uri: Uri) -> Store:
        """Return the store of a URI, with credentials and endpoint from the environment.

        Raises
        ------
        ConfigError
            CTM_LOCATION_INVALID: pyarrow does not support the scheme.
        """
        try:
            system = (
                _s3(uri.bucket) if uri.scheme == "s3" else fs.FileSystem.from_uri(f"{uri.scheme}://{uri.bucket}")[0]
            )
        except (ArrowInvalid, NotImplementedError) as e:
            raise ConfigError("CTM_LOCATION_INVALID", location=uri, problem=_first_line(e)) from None
        return cls(uri, system)

    def is_object(self) -> bool:
        """Return whether there is an object at the URI itself."""
        return bool(self.system.get_file_info(self.uri.path).type == fs.FileType.File)

    def bucket_exists(self) -> bool:
        """Return whether the bucket exists; True if the credentials do not allow to find out."""
        with suppress(OSError):  # access may be limited to one prefix
            return bool(self.system.get_file_info(self.uri.bucket).type != fs.FileType.NotFound)
        return True

    def names(self) -> list[str]:
        """Return the names of all objects below the URI."""
        selector = fs.FileSelector(self.uri.path, recursive=True, allow_not_found=True)
        entries = self.system.get_file_info(selector)
        return [e.path[len(self.uri.path) + 1 :] for e in entries if e.type == fs.FileType.File]

    def prefixes(self) -> list[str]:
        """Return the names of the prefixes directly below the URI."""
        entries = self.system.get_file_info(fs.FileSelector(self.uri.path, allow_not_found=True))
        return [e.base_name for e in entries if e.type == fs.FileType.Directory]

    def children(self) -> list[str]:
        """Return the names of the objects and prefixes directly below the URI."""
        entries = self.system.get_file_info(fs.FileSelector(self.uri.path, allow_not_found=True))
        return [e.base_name for e in entries]

    def download(self, name: str, target: Path) -> None:
        """Copy an object to a new file."""
        _copy(self._path(name), self.system, str(target), fs.LocalFileSystem())

    def upload(self, source: Path, name: str = "") -> None:
        """Copy a file to an object, which appears when it is complete."""
        _copy(str(source), fs.LocalFileSystem(), self._path(name), self.system)

    def put(self, name: str, content: bytes) -> None:
        """Write an object."""
        with self.system.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def get(self, name: str) -> bytes:
        """Return the content of an object."""
        with self.system.open_input_stream(self._path(name)) as stream:
            return bytes(stream.read())

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        with suppress(FileNotFoundError):
            self.system.delete_file(self._path(name))

    def delete_all(self) -> None:
        """Delete all objects below the URI."""
        with suppress(FileNotFoundError):
            self.system.delete_dir(self.uri.path)

    def missing_prefixes(self) -> list[str]:
        """Return the prefixes, from that of the URI upwards, that do not exist; deepest first."""
        path = PurePosixPath(self.uri.path)
        entries = self.system.get_file_info([str(p) for p in (path, *path.parents) if "/" in str(p)])
        return [e.path for e in entries if e.type == fs.FileType.NotFound]

    def delete_if_empty(self, prefixes: Iterable[str]) -> None:
        """Delete the empty objects that pyarrow leaves for a prefix after its last object is deleted."""
        for prefix in prefixes:
            if not self.system.get_file_info(fs.FileSelector(prefix, allow_not_found=True)):
                with suppress(FileNotFoundError):
                    self.system.delete_dir(prefix)

    def _path(self, name: str) -> str:
        return f"{self.uri.path}/{name}" if name else self.uri.path


def _copy(source: str, source_system: Any, target: str, target_system: Any) -> None:
    fs.copy_files(
        source, target, source_filesystem=source_system, destination_filesystem=target_system, use_threads=False
    )
    size, copy_size = source_system.get_file_info(source).size, target_system.get_file_info(target).size
    if size != copy_size:
        raise OSError(f"{PurePosixPath(source).name} has {size} bytes, its copy {copy_size}")


def for_each(function: Callable[[T], object], items: Iterable[T]) -> None:
    """Call a function with each item, in threads; the first failure, or Ctrl-C, cancels items not yet started."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for future in [pool.submit(function, item) for item in items]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def translate_errors(code: str, uri: Uri) -> Iterator[None]:
    """Raise errors of a store as a CtmahoutError with this code."""
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
