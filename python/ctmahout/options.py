"""The options of a run: TOML file, environment and command line in, one validated `Config` out."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Number
from pathlib import Path
from typing import Any, get_type_hints

from .errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ACCEPTED", "ALGORITHMS", "ENGINES", "Config", "check_keys", "nearest", "option_error"]

EFFORTS = ("fast", "normal", "best")
ENGINES = ("py4j", "jpype", "submit", "operator", "numpy")
METHODS = ("patches", "slices")
ALGORITHMS = ("dssvd", "exact", "dspca", "auto")
DEPLOY_MODES = ("client", "cluster")

# Options by concern, and those that each function and verb accepts.
_READ = ("series", "split", "lenient", "unpack_gib", "workers")
_KUBERNETES = ("image", "pod_template", "start_timeout")
_SPARK = ("engine", "master", "deploy_mode", *_KUBERNETES, "conf", "partitions", "driver_memory", "jar")
_DECOMPOSE = ("algorithm", "k", "p", "q", "seed", *_SPARK)
_METHOD = ("method", "effort", "model", "models", "refit")
_SPREAD = ("spread", "master", "conf", "driver_memory", "jar")
_WRITE = (
    "strength",
    "report",
    "dicom_report",
    "maps",
    "timestamp",
    "image_type",
    "series_suffix",
    "series_number_offset",
    "compression",
    "private",
    "deidentify",
)
ACCEPTED = {
    "denoise": (*_METHOD, *_WRITE, *_DECOMPOSE, "spread", *_READ, "work", "overwrite"),
    "denoise_study": (*_METHOD, *_WRITE, *_DECOMPOSE, "spread", *_READ, "work", "overwrite"),
    "denoise_volume": (*_METHOD, *_DECOMPOSE, "spread", "workers", "work", "overwrite"),
    "prepare": ("method", "effort", "seed", *_READ, "overwrite"),
    "factorise": (*_DECOMPOSE, "overwrite"),
    "refine": (*_READ, *_SPREAD, "overwrite"),
    "reconstruct": (*_WRITE, *_READ, *_SPREAD, "overwrite"),
    "repeat": ("lenient", "unpack_gib", "workers"),
    "learn": ("groups", *_DECOMPOSE, "lenient", "unpack_gib", "workers", "work", "overwrite"),
}
"""The options that each function accepts; it refuses the others."""

COMPRESSIONS = ("none", "rle", "jpeg-ls", "jpeg2000")


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    metavar: str | None = None,
    short: str | None = None,
) -> Any:
    """Return a field with its help text, limits and appearance on the command line."""
    metadata = {"help": help, "choices": tuple(choices), "minimum": minimum, "metavar": metavar, "short": short}
    return dataclasses.field(default=default, metadata=metadata)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the name of `known` with the most similar spelling."""
    return (difflib.get_close_matches(name, known, n=1, cutoff=0.0) or list(known))[0]


def check_keys(values: Iterable[str], function: str, *, source: str, without: Collection[str] = ()) -> None:
    """Refuse keys that are no options of a function, or are among `without`.

    Raises
    ------
    ConfigError
        CTM_CONFIG_UNKNOWN_KEY, which names the nearest option.
    """
    known = [name for name in ACCEPTED[function] if name not in without]
    for key in values:
        if key not in known:
            raise ConfigError("CTM_CONFIG_UNKNOWN_KEY", source=source, given=key, nearest=nearest(key, known))


def option_error(key: str, value: object, expected: str, *, source: str = "options") -> ConfigError:
    """Return the error for an invalid option, CTM_CONFIG_VALUE.

    Parameters
    ----------
    key : str
        Name of the option.
    value : object
        Its value, quoted in the message; None for an option that is missing.
    expected : str
        Description of the valid values; it follows the word "expected".
    source : str
        Where the value comes from.
    """
    text = "not given" if value is None else repr(value)
    return ConfigError("CTM_CONFIG_VALUE", source=source, key=key, value=text, expected=expected)


@dataclass(frozen=True)
class Config:
    """Options of a run; the help text of each option is in its field.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: an invalid value.
    """

    # Method
    method: str = option(
        "patches",
        "patches: groups of similar patches; slices: the method of 2020, for reference.",
        choices=METHODS,
    )
    effort: str = option("normal", "For method patches: one pass, two, or two more thorough ones.", choices=EFFORTS)
    strength: tuple[str, ...] = option(
        ("auto",),
        "How much noise to remove: auto or remove:50%; for method slices auto, rank:N, energy:0.99 or drop:10%. "
        "Repeat it to write several series.",
        metavar="STRENGTH",
    )
    algorithm: str = option(
        "dssvd",
        "dssvd: stochastic SVD; exact: from A'A, for up to a few hundred columns; dspca: dssvd of the centred matrix; "
        "auto: dssvd or exact, whichever costs less.",
        choices=ALGORITHMS,
    )
    k: int | None = option(None, "Components to compute; default: all.", minimum=1, short="-k")
    p: int = option(15, "Oversampling: extra columns of the random projection (dssvd, dspca).", minimum=0, short="-p")
    q: int = option(1, "Power iterations (dssvd, dspca).", minimum=0, short="-q")
    seed: int = option(0, "Seed of the random projection.", minimum=0)

    model: str | None = option(None, "Apply this model, written by `learn`; needs no Spark.", metavar="DIR")
    models: str | None = option(
        None, "Apply the best fitting model of this store; learn from the series itself if none fits.", metavar="STORE"
    )
    refit: bool = option(False, "Learn from the series itself if the model does not fit it.")
    groups: int | None = option(None, "Groups of patches to learn; default: 1000.", minimum=1)

    # Engine
    engine: str = option("py4j", "How to call Mahout on Spark; numpy runs without Java.", choices=ENGINES)
    master: str | None = option(
        None, "Spark master, or sc://HOST:PORT of Spark Connect; default: all cores of this machine.", metavar="URL"
    )
    partitions: int | None = option(
        None, "Spark partitions, at most one for each row group of the matrix; default: automatic.", minimum=1
    )
    driver_memory: str | None = option(None, "Memory of the Spark driver, for example 4g.", metavar="SIZE")
    jar: str | None = option(None, "Use this ctmahout jar instead of the bundled one.", metavar="PATH")
    deploy_mode: str | None = option(
        None, "For engine submit: run the driver here (client) or in the cluster.", choices=DEPLOY_MODES
    )
    image: str | None = option(None, "Container image of drivers and executors on Kubernetes.", metavar="IMAGE")
    pod_template: str | None = option(
        None,
        "Kubernetes: a Pod as YAML or JSON, from which driver and executor pods are made: labels, tolerations, ...",
        metavar="FILE",
    )
    start_timeout: int = option(
        900, "Kubernetes: seconds that the driver may take to start, waiting in a queue included.", minimum=1
    )
    conf: tuple[str, ...] = option((), "A Spark setting; may be repeated.", metavar="KEY=VALUE")
    spread: bool = option(
        False,
        "Process the volume on Spark's executors, too, or with --all-series each series on one of them; they need "
        "ctmahout installed. For clusters.",
    )

    # Input
    series: str | None = option(
        None,
        "The series to read: its number, SeriesNumber, UID, folder in a study, description:TEXT, rule:most-slices or "
        "rule:thinnest.",
        metavar="SERIES",
    )
    all_series: bool = option(False, "Denoise every CT series into a folder of its own; run again to continue.")
    split: bool = option(
        False, "Treat slices of another orientation, size, phase, thickness or spacing as separate series."
    )
    lenient: bool = option(False, "Accept doubtful series with a warning instead of refusing them.")

    unpack_gib: int = option(
        1,
        "Limit in GiB for one image unpacked from an archive or a deflated file; 4 times that for a NIfTI or npz "
        "volume, 32 times for a compressed tar.",
        minimum=1,
    )

    # Output
    overwrite: bool = option(False, "Replace an earlier output of ctmahout.")
    report: bool = option(True, "Write the HTML report.")
    dicom_report: bool = option(
        False, "Also write the report as DICOM: a structured report and an encapsulated PDF, for the archive."
    )
    maps: bool = option(False, "Also write the residual and the map of the noise SD as series.")
    work: str | None = option(
        None,
        "A folder to work in: denoise keeps matrix and factors there, learn goes on there after a stop.",
        metavar="DIR",
    )
    timestamp: str | None = option(None, "Time to write into the series (ISO 8601); default: now.", metavar="TIME")
    image_type: str = option(
        "SECONDARY",
        "Value 2 of ImageType; some archives accept PRIMARY only.",
        choices=("SECONDARY", "PRIMARY"),
    )
    series_suffix: str = option("DENOISED", "Text to append to SeriesDescription.", metavar="TEXT")
    series_number_offset: int = option(9000, "Number to add to SeriesNumber.", minimum=1)
    compression: str = option("none", "Lossless compression of the series.", choices=COMPRESSIONS)
    private: str = option("drop", "Drop or keep private attributes.", choices=("drop", "keep"))
    deidentify: bool = option(False, "Write technical attributes only; nothing in the series identifies the patient.")
    workers: int | None = option(None, "Threads to read, compute and write; default: automatic.", minimum=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check(field)
        for setting in self.conf:
            key, equals, _ = setting.partition("=")
            if not key or not equals:
                raise option_error("conf", setting, "KEY=VALUE")

    @property
    def spark_conf(self) -> dict[str, str]:
        """The settings of `conf` by key; of equal keys the last one."""
        return {key: value for key, _, value in (setting.partition("=") for setting in self.conf)}

    def _check(self, field: dataclasses.Field[Any]) -> None:
        value = getattr(self, field.name)
        hint = _HINTS[field.name]
        optional = type(None) in getattr(hint, "__args__", ())
        if value is None and optional:
            return
        if hint == tuple[str, ...]:
            if isinstance(value, str):
                value = (value,)
            if isinstance(value, list):
                value = tuple(value)
            texts = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
            if not texts or (field.default and not value):
                raise option_error(field.name, value, "one or more texts")
            object.__setattr__(self, field.name, value)
            return
        kind = hint if not optional else next(a for a in hint.__args__ if a is not type(None))
        value = _normalise(field.name, value, kind)
        object.__setattr__(self, field.name, value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise option_error(field.name, value, {int: "a whole number", bool: "true or false", str: "a text"}[kind])
        if field.metadata["choices"] and value not in field.metadata["choices"]:
            raise option_error(field.name, value, "one of " + ", ".join(field.metadata["choices"]))
        minimum = field.metadata["minimum"]
        if minimum is not None and value < minimum:
            raise option_error(field.name, value, f"{minimum} or more")

    @classmethod
    def load(
        cls,
        *,
        file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, object] | None = None,
    ) -> Config:
        """Return the options of a file, overridden by those of the environment, overridden by those of the flags.

        Parameters
        ----------
        file : Path, optional
            TOML, one key for each field.
        environ : mapping, optional
            Variables ``CTMAHOUT_<FIELD>``. Commas separate several strengths; they separate Spark settings where a key
            that begins with ``spark.`` follows.
        flags : mapping, optional
            Values by field name; None for a flag that is not set.

        Raises
        ------
        ConfigError
            CTM_CONFIG_FILE, CTM_CONFIG_UNKNOWN_KEY, CTM_CONFIG_VALUE.
        """
        values: dict[str, object] = {}
        if file is not None:
            values.update(_from_file(file))
        values.update(_from_environment(environ or {}))
        values.update({name: value for name, value in (flags or {}).items() if value is not None})
        return cls.of(values)

    @classmethod
    def of(cls, values: Mapping[str, object], *, source: str = "options") -> Config:
        """Return the options with these values; an unknown key is an error that names the nearest known one."""
        for key in values:
            if key not in _HINTS:
                raise ConfigError(
                    "CTM_CONFIG_UNKNOWN_KEY", source=source, given=key, nearest=nearest(key, list(_HINTS))
                )
        return cls(**values)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def to_toml(self) -> str:
        """Return the text of a file from which `load` reads the same options; unset ones are comments."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # JSON values are valid TOML, except for the character DEL.
            literal = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            text = f"# {field.name} =" if value is None else f"{field.name} = {literal}"
            lines += [f"# {field.metadata['help']}", text, ""]
        return "\n".join(lines)


_HINTS: dict[str, Any] = get_type_hints(Config)
# Options that also accept paths and URIs.
_LOCATIONS = frozenset({"model", "models", "work", "jar"})
# Variables that are not options: of the verb `fetch`, of DICOMweb archives, and of tests.
_OTHER_VARIABLES = frozenset(
    {
        "CTMAHOUT_TCIA",
        "CTMAHOUT_IDC_INDEX",
        "CTMAHOUT_IDC_STORE",
        "CTMAHOUT_DICOMWEB_TOKEN",
        "CTMAHOUT_TEST_CONNECT",
        "CTMAHOUT_TEST_DATA",
        "CTMAHOUT_TEST_PICTURES",
    }
)
# Kubernetes sets these in every pod if a service is named ctmahout.
_SERVICE_VARIABLE = re.compile(r"CTMAHOUT_(.*_)?(PORT|SERVICE_HOST|SERVICE_PORT)(_.*)?")


def _normalise(name: str, value: object, kind: type) -> object:
    """Return numpy scalars as Python's, and paths, URIs and series numbers as text."""
    if kind is bool and getattr(getattr(value, "dtype", None), "kind", "") == "b":  # without an import of numpy
        return bool(value)
    if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if kind is str and name in _LOCATIONS and not isinstance(value, (bool, Number, bytes, list, tuple, dict)):
        return str(value)
    if name == "series" and isinstance(value, Integral) and not isinstance(value, bool):
        return str(value)
    return value


def _from_file(file: Path) -> dict[str, object]:
    try:
        values: dict[str, object] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ConfigError("CTM_CONFIG_FILE", path=file, problem=e) from None
    for key in values:
        if key not in _HINTS:
            raise ConfigError("CTM_CONFIG_UNKNOWN_KEY", source=file, given=key, nearest=nearest(key, list(_HINTS)))
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    variables = {"CTMAHOUT_" + name.upper(): name for name in _HINTS}
    for variable in environ:
        known = variable in variables or variable in _OTHER_VARIABLES or _SERVICE_VARIABLE.fullmatch(variable)
        if variable.startswith("CTMAHOUT_") and not known:
            raise ConfigError(
                "CTM_CONFIG_UNKNOWN_KEY",
                source="environment",
                given=variable,
                nearest=nearest(variable, list(variables)),
            )
    values: dict[str, object] = {}
    for variable, name in variables.items():
        hint = _HINTS[name]
        text = environ.get(variable)
        if text is None or text == "":
            continue
        try:
            values[name] = _settings(text) if name == "conf" else _parse(text, hint)
        except ValueError as e:
            raise option_error(variable, text, str(e), source="environment") from None
    return values


def _settings(text: str) -> tuple[str, ...]:
    """Split Spark settings at commas before a key; values may contain commas."""
    return tuple(part.strip() for part in re.split(r",(?=\s*spark\.[^,=]*=)", text))


def _parse(text: str, hint: Any) -> object:
    if hint == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(","))
    kinds = getattr(hint, "__args__", (hint,))
    if bool in kinds:
        if text.lower() not in ("1", "0", "true", "false", "yes", "no"):
            raise ValueError("true or false")
        return text.lower() in ("1", "true", "yes")
    if int in kinds:
        try:
            return int(text)
        except ValueError:
            raise ValueError("a whole number") from None
    return text
