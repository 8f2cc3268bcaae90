"""The configuration of a node: one TOML file in, a validated `NodeConfig` out."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ..errors import ConfigError
from ..options import Config, check_keys, nearest, option_error
from ..storage import is_dicomweb, parse_location

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Destination", "Limits", "NodeConfig", "Page", "Peer", "Query", "Rule", "Tls", "is_loopback"]

_LOOPBACK = "127.0.0.1"
# Names in a page, in metrics and in files of the queue.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")
_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]*")
# What the node decides itself, or what makes no sense for one series.
_NOT_IN_RULES = frozenset({"series", "work", "overwrite", "timestamp"})

T = TypeVar("T")


@dataclass(frozen=True)
class Tls:
    """Certificates of a connection; verification is on unless it is switched off.

    Attributes
    ----------
    certificate, key : Path, optional
        PEM files: what this node shows. Required to receive by TLS.
    authorities : Path, optional
        PEM file: who signs the other side's certificate. To send, the system's authorities by default; to receive,
        senders without a certificate of these are refused.
    verify : bool
        Of a destination: check its certificate and host name.
    """

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None
    verify: bool = True


@dataclass(frozen=True)
class Peer:
    """Who may send.

    Attributes
    ----------
    title : str
        Calling AE title.
    address : str
        IP address or network, such as ``10.1.0.0/16``.
    """

    title: str
    address: str = _LOOPBACK

    def __post_init__(self) -> None:
        _check_title("peers.title", self.title)
        try:
            ipaddress.ip_network(self.address, strict=False)
        except ValueError:
            raise option_error("peers.address", self.address, "an IP address or network") from None

    def has_address(self, address: str) -> bool:
        """Return whether an IP address is this peer's."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return ip in ipaddress.ip_network(self.address, strict=False)


@dataclass(frozen=True)
class Destination:
    """Where derived series go: a DICOM node by C-STORE, or an archive by STOW-RS.

    Attributes
    ----------
    name : str
    title, host, port : str, str, int
        Called AE title and address of a DICOM node.
    archive : str
        Or the DICOMweb archive, ``dicomweb+https://HOST/ROOT``.
    tls : Tls, optional
        To a DICOM node: without it, no encryption. An archive's scheme says whether there is TLS.
    tries : int
        How often a series is sent before it goes to quarantine.
    wait_s, longest_wait_s : float, s
        Before the second try, doubled before each further one up to the longest.
    timeout_s : float, s
        For every answer of a DICOM node.
    """

    name: str
    title: str = ""
    host: str = ""
    port: int = 0
    archive: str = ""
    tls: Tls | None = None
    tries: int = 20
    wait_s: float = 10.0
    longest_wait_s: float = 900.0
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        _check_name("destinations.name", self.name)
        if self.archive:
            if self.title or self.host or self.port:
                raise option_error("destinations.archive", self.archive, "an archive, or title, host and port")
            _check_archive("destinations", self.archive, self.tls)
        else:
            _check_title("destinations.title", self.title)
            if not self.host:
                raise option_error("destinations.host", self.host, "a host, or an archive")
            _check_range("destinations.port", self.port, 1, 65535)
        _check_range("destinations.tries", self.tries, 1, 10**6)
        _check_range("destinations.wait_s", self.wait_s, 0, 86400)
        _check_range("destinations.timeout_s", self.timeout_s, 0.1, 3600)
        _check_range("destinations.longest_wait_s", self.longest_wait_s, 0, 86400)


@dataclass(frozen=True)
class Query:
    """Which series of an archive are fetched, by QIDO-RS and WADO-RS; each once.

    Attributes
    ----------
    name : str
        The sender of these series for rules.
    archive : str
        ``dicomweb+https://HOST/ROOT``.
    filters : dict
        Keywords of attributes, and what they must match; Modality is CT without being named.
    days : int
        Series of studies of the last days, by StudyDate; 0: of any date.
    every_s : float, s
        From answer to question.
    longest_wait_s : float, s
        ``every_s`` is doubled after each failure, up to this.
    tls : Tls, optional
    """

    name: str
    archive: str
    filters: Mapping[str, Any] = field(default_factory=dict)
    days: int = 2
    every_s: float = 60.0
    longest_wait_s: float = 3600.0
    tls: Tls | None = None

    def __post_init__(self) -> None:
        _check_name("queries.name", self.name)
        _check_archive("queries", self.archive, self.tls)
        _check_range("queries.days", self.days, 0, 36500)
        _check_range("queries.every_s", self.every_s, 0.1, 86400)
        _check_range("queries.longest_wait_s", self.longest_wait_s, 0, 86400)
        for keyword, value in self.filters.items():
            if not _KEYWORD.fullmatch(keyword) or not isinstance(value, str):
                raise option_error("queries.filters", f"{keyword} = {value}", "keywords of attributes, and texts")


@dataclass(frozen=True)
class Rule:
    """Which series are denoised how, and where they go. The first rule that a series matches applies.

    Patterns are those of a shell, such as ``B4*``, without regard to case; a missing one matches everything. That the
    images are CT needs no rule: no others are accepted.

    Attributes
    ----------
    name : str
    send_to : tuple of str
        Names of destinations; none: series stay in the queue's folder ``done``.
    sender, kernel, description : str
        Patterns for the calling AE title, or the name of the query; ConvolutionKernel; SeriesDescription.
    thickness_mm : tuple of float, mm
        SliceThickness, from and to.
    options : dict
        Options of `denoise`: strength, effort, model, compression ...
    """

    name: str
    send_to: tuple[str, ...] = ()
    sender: str = "*"
    kernel: str = "*"
    description: str = "*"
    thickness_mm: tuple[float, ...] = (0.0, 1000.0)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("rules.name", self.name)
        if len(self.thickness_mm) != 2 or self.thickness_mm[0] > self.thickness_mm[1]:
            raise option_error("rules.thickness_mm", list(self.thickness_mm), "[from, to] in mm")
        check_keys(self.options, "denoise", source="rules.options", without=_NOT_IN_RULES)
        self.denoise_config()

    def denoise_config(self, **decided: Any) -> Config:
        """Return the options of `denoise` for this rule and what is decided for one series."""
        return Config.of({**self.options, **decided}, source="rules.options")


@dataclass(frozen=True)
class Limits:
    """What senders may do, and what the node keeps free.

    Attributes
    ----------
    associations : int
        At a time; further ones are rejected as "local limit exceeded".
    connections_per_minute : int
        From one address; further ones are closed.
    image_mib : int, MiB
        Of one image; a larger one aborts its association.
    memory_mib : int, MiB
        Of all images that are being received.
    images : int
        Of one series.
    series : int
        Received, waiting and to be sent; with more, associations are rejected as "temporary congestion".
    free_mib : int, MiB
        Free space on the queue's disk below which associations are rejected.
    idle_s : float, s
        Silence after which a connection is closed, and the time that one PDU may take.
    run_minutes : float, min
        Longest time to denoise a series.
    """

    associations: int = 10
    connections_per_minute: int = 600
    image_mib: int = 512
    memory_mib: int = 1024
    images: int = 10000
    series: int = 1000
    free_mib: int = 2048
    idle_s: float = 60.0
    run_minutes: float = 120.0

    def __post_init__(self) -> None:
        for name in ("associations", "connections_per_minute", "image_mib", "memory_mib", "images", "series"):
            _check_range(f"limits.{name}", getattr(self, name), 1, 10**9)
        _check_range("limits.free_mib", self.free_mib, 0, 10**9)
        _check_range("limits.idle_s", self.idle_s, 0.1, 86400)
        _check_range("limits.run_minutes", self.run_minutes, 0.01, 10**6)


@dataclass(frozen=True)
class Page:
    """The web page.

    Attributes
    ----------
    port : int
        0: any free one.
    address : str
        Where it listens. Beyond loopback it needs a token.
    token_file : Path, optional
        A file with the token that visitors must give.
    patients : bool
        Show patient names; they are read from the images when somebody looks.
    certificate, key : Path, optional
        PEM files, for https.
    """

    port: int = 8104
    address: str = _LOOPBACK
    token_file: Path | None = None
    patients: bool = False
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        _check_range("page.port", self.port, 0, 65535)
        if not is_loopback(self.address) and self.token_file is None:
            raise option_error("page.token_file", None, f"a file with a token, since address is {self.address}")
        if (self.certificate is None) != (self.key is None):
            raise option_error("page.key", None, "certificate and key, or none of the two")


@dataclass(frozen=True)
class NodeConfig:
    """A node's configuration.

    Attributes
    ----------
    queue : Path
        A folder of its own on a local disk.
    title : str
        This node's AE title; associations that call another one are rejected.
    address, port : str, int
        Where it listens.
    silence_s : float, s
        A series is complete when no image of it has come for this long.
    complete_on_release : bool
        Or as soon as the association that brought it is released. Not for senders with an association for each image.
    unmatched : str
        What becomes of series that no rule matches: "quarantine" or "skip", which removes them.
    concurrency : int
        Series denoised at a time.
    tries : int
        How often a series is tried that fails for a reason that may pass.
    wait_s : float, s
        Before the second try, doubled before each further one.
    keep_days : float
        How long the record and the report of a series stay in ``done``.
    tls : Tls, optional
        To receive.
    peers, queries, destinations, rules : tuple
    limits : Limits
    page : Page, optional
        None: there is no page.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE, CTM_CONFIG_UNKNOWN_KEY.
    """

    queue: Path
    title: str = "CTMAHOUT"
    address: str = _LOOPBACK
    port: int = 11112
    silence_s: float = 30.0
    complete_on_release: bool = False
    unmatched: str = "quarantine"
    concurrency: int = 1
    tries: int = 3
    wait_s: float = 30.0
    keep_days: float = 7.0
    tls: Tls | None = None
    peers: tuple[Peer, ...] = ()
    queries: tuple[Query, ...] = ()
    destinations: tuple[Destination, ...] = ()
    rules: tuple[Rule, ...] = ()
    limits: Limits = field(default_factory=Limits)
    page: Page | None = None

    def __post_init__(self) -> None:
        _check_title("title", self.title)
        _check_range("port", self.port, 0, 65535)
        _check_range("silence_s", self.silence_s, 0.1, 86400)
        _check_range("concurrency", self.concurrency, 1, 1000)
        _check_range("tries", self.tries, 1, 10**6)
        _check_range("wait_s", self.wait_s, 0, 86400)
        _check_range("keep_days", self.keep_days, 0, 36500)
        if self.unmatched not in ("quarantine", "skip"):
            raise option_error("unmatched", self.unmatched, "quarantine or skip")
        if not self.peers and not self.queries:
            expected = "who may send, [[peers]] with title and address, or [[queries]] with name and archive"
            raise option_error("peers", None, expected)
        if not self.rules:
            raise option_error("rules", None, "at least one [[rules]] with a name")
        if self.tls and (self.tls.certificate is None or self.tls.key is None):
            raise option_error("tls.certificate", None, "certificate and key, to receive by TLS")
        for key, items in (("queries", self.queries), ("destinations", self.destinations), ("rules", self.rules)):
            names = [item.name for item in items]
            if len(set(names)) != len(names):
                raise option_error(f"{key}.name", ", ".join(names), "names that differ")
        known = [destination.name for destination in self.destinations]
        for rule in self.rules:
            for name in rule.send_to:
                if name not in known:
                    raise option_error(
                        "rules.send_to", name, "the name of a destination: " + (", ".join(known) or "none")
                    )

    @classmethod
    def load(cls, file: Path) -> NodeConfig:
        """Return the configuration in a TOML file; its paths are relative to the file.

        Raises
        ------
        ConfigError
            CTM_CONFIG_FILE, CTM_CONFIG_UNKNOWN_KEY, CTM_CONFIG_VALUE.

        Examples
        --------
        >>> from pathlib import Path
        >>> text = 'queue = "q"\\n[[peers]]\\ntitle = "CT1"\\naddress = "10.0.0.7"\\n[[rules]]\\nname = "all"'
        >>> _ = Path("node.toml").write_text(text)
        >>> NodeConfig.load(Path("node.toml")).port
        11112
        """
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise ConfigError("CTM_CONFIG_FILE", path=file, problem=e) from None
        try:
            config: NodeConfig = _build(cls, values, str(file), "", file.absolute().parent)
        except ConfigError as e:
            e.rename("options:", f"{file}:")
            raise
        return config


def _build(cls: type[T], values: Any, source: str, path: str, base: Path) -> T:
    """Return an object of a dataclass from a table, whose keys are its fields."""
    if not isinstance(values, dict):
        raise option_error(path.rstrip("."), values, "a table", source=source)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(
                "CTM_CONFIG_UNKNOWN_KEY", source=source, given=path + key, nearest=path + nearest(key, list(fields))
            )
    for name, f in fields.items():
        missing = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if missing and name not in values:
            raise option_error(path + name, None, "a value", source=source)
    return cls(**{k: _convert(v, hints[k], source, path + k, base) for k, v in values.items()})


def _convert(value: Any, hint: Any, source: str, key: str, base: Path) -> Any:
    kinds: tuple[Any, ...] = getattr(hint, "__args__", ())
    origin = getattr(hint, "__origin__", None)
    if origin is tuple:
        if not isinstance(value, list):
            raise option_error(key, value, "a list", source=source)
        return tuple(_convert(item, kinds[0], source, key, base) for item in value)
    if origin is not None:  # the options of a rule
        if not isinstance(value, dict):
            raise option_error(key, value, "a table", source=source)
        return value
    kind = next((k for k in kinds if k is not type(None)), hint)
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, source, f"{key}.", base)  # type: ignore[arg-type]
    if kind is Path:
        if not isinstance(value, str) or not value:
            raise option_error(key, value, "a path", source=source)
        return base / value
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise option_error(key, value, words[kind], source=source)
    return kind(value)


def _check_title(key: str, title: str) -> None:
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise option_error(key, title, "1 to 16 printable ASCII characters, no backslash")


def _check_name(key: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise option_error(key, name, "1 to 64 letters, digits, spaces, or any of - _ .")


def _check_archive(key: str, archive: str, tls: Tls | None) -> None:
    if not is_dicomweb(parse_location(archive)):
        raise option_error(f"{key}.archive", archive, "a DICOMweb archive, dicomweb+https://HOST/ROOT")
    if tls and not tls.verify:
        raise option_error(f"{key}.tls.verify", False, "true for an archive; give its authorities")


def _check_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise option_error(key, value, f"{low:g} to {high:g}")


def is_loopback(address: str) -> bool:
    """Return whether an address is reached from this machine only."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
