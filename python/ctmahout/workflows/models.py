"""Models of a store: `list_models` for people, and the one that fits a series for `denoise`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..denoising.effort import PATCH
from ..denoising.patches import Model, ModelRun
from ..dicom import Protocol
from ..errors import CtmahoutError, InputError
from ..exchange import DamagedModel, Manifest, StoredModel, is_damage, open_model, read_manifest
from ..exchange import list_models as list_stored
from ..options import Config
from ..storage import Location, Uri, local_copy, parse_location
from ..volume import Volume

__all__ = ["ModelChoice", "ModelInfo", "ModelList", "choose_model", "given_model", "list_models"]


@dataclass(frozen=True)
class ModelInfo:
    """A model of a store.

    Attributes
    ----------
    name : str
        SHA-256 of its manifest, and its folder in the store.
    protocols : tuple of Protocol
        One for each series that it was learnt on; they match each other.
    noise_sd_hu : tuple of float, HU
        Of each series: the median SD of its noise.
    groups : tuple of int
        Groups of patches in each pass.
    version : str
        Of the ctmahout that learnt it.
    """

    name: str
    protocols: tuple[Protocol, ...]
    noise_sd_hu: tuple[float, ...]
    groups: tuple[int, ...]
    version: str

    @property
    def series(self) -> int:
        """How many series it was learnt on."""
        return len(self.protocols)

    def row(self) -> tuple[str, ...]:
        """Return it as a row of a table: name, series, groups, kernel, scanner, sizes (mm), SD of the noise (HU)."""
        scanners = {" ".join(filter(None, (p.manufacturer, p.scanner))) or "-" for p in self.protocols}
        thickness = [p.thickness_mm for p in self.protocols if p.thickness_mm is not None]
        return (
            self.name[:12],
            str(self.series),
            " + ".join(map(str, self.groups)),
            self.protocols[0].kernel or "-",
            ", ".join(sorted(scanners)),
            _range(thickness),
            _range([p.spacing_mm[0] for p in self.protocols]),
            _range([mm for p in self.protocols for mm in p.spacing_mm[1:]]),
            _range(self.noise_sd_hu),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        protocols = [protocol.as_dict() for protocol in self.protocols]
        return {
            "name": self.name,
            "series": [p | {"noise_sd_hu": sd} for p, sd in zip(protocols, self.noise_sd_hu, strict=True)],
            "groups": list(self.groups),
            "version": self.version,
        }


class ModelList(list[ModelInfo]):
    """The models of a store, by name.

    Attributes
    ----------
    skipped : tuple of DamagedModel
        What has the name of a model and cannot be read.
    """

    def __init__(self, models: Sequence[ModelInfo], skipped: Sequence[DamagedModel]) -> None:
        super().__init__(models)
        self.skipped = tuple(skipped)


def list_models(store: str | Path | Uri) -> ModelList:
    """List the models of a store; `learn` with ``store=`` adds one, `denoise` with ``models=`` takes the best.

    Parameters
    ----------
    store : path or URI
        A folder, or a prefix of an object store.

    Returns
    -------
    ModelList
        A list of `ModelInfo`: name, protocols (kernel, scanner, sizes in mm), SD of the noise (HU), groups; its
        attribute ``skipped`` has the models that are damaged, each with its error. Nothing in it names a patient.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND: there is no such folder, or nothing below the URI. CTM_STORAGE_READ.
    ConfigError
        CTM_MODEL_STORE: this is a model and not a store. CTM_LOCATION_INVALID.

    Examples
    --------
    >>> from ctmahout import learn
    >>> manifest = learn(["phantom/noisy"], store="models", groups=20, engine="numpy")
    >>> [(model.name == manifest.sha256, model.series, model.groups) for model in list_models("models")]
    [(True, 1, (5, 20))]
    """
    models, skipped = list_stored(parse_location(store))
    infos = []
    for model in models:
        try:
            infos.append(_info(model))
        except CtmahoutError as e:
            skipped.append(DamagedModel(model.name, e))
    return ModelList(infos, sorted(skipped, key=lambda one: one.name))


def _info(model: StoredModel) -> ModelInfo:
    layout = model.manifest.layout
    try:
        learnt_on = layout["learnt_on"]
        return ModelInfo(
            model.name,
            tuple(map(Protocol.of_dict, learnt_on)),
            tuple(float(facts["noise"]["median_sd_hu"]) for facts in learnt_on),
            tuple(map(int, layout["groups"])),
            str(model.manifest.writer["version"]),
        )
    except (KeyError, TypeError, ValueError) as e:
        problem = "its layout says neither protocols nor groups"
        raise CtmahoutError("CTM_EXCHANGE_MANIFEST", path=model.name, problem=problem) from e


def _range(values: Sequence[float]) -> str:
    low, high = (f"{limit(values, default=math.nan):.3g}" for limit in (min, max))
    return "-" if not values else low if low == high else f"{low} to {high}"


# --------------------------------------------------------------------------------------------- a model for a series


@dataclass(frozen=True, eq=False)
class ModelChoice:
    """The model for a series, or why it is learnt from itself.

    Attributes
    ----------
    manifest : Manifest, or None
    run : ModelRun, or None
        None: the series is to be learnt from itself.
    about : dict
        What ``run.json`` says of it, below "models"; empty without a store.
    """

    manifest: Manifest | None = None
    run: ModelRun | None = None
    about: dict[str, Any] = field(default_factory=dict)


def given_model(volume: Volume, config: Config) -> ModelChoice:
    """Start the model that the options name on a volume; with ``refit``, none if it does not fit.

    Raises
    ------
    InputError
        CTM_MODEL_PATCH, CTM_MODEL_UNFIT. Those of `local_copy` and `read_manifest`.
    """
    with local_copy(parse_location(str(config.model))) as folder:
        manifest = read_manifest(folder, "model")
        model = Model.read(folder, manifest)
    depth, expected = _depth(model), min(PATCH[0], volume.shape[0])
    if not _has_depth_of(model, volume):
        if config.refit:
            return ModelChoice()
        raise InputError("CTM_MODEL_PATCH", path=config.model, given=depth, expected=expected)
    run = ModelRun.start(model, volume, config)
    if run.fit is not None and not run.fit.is_good:
        if config.refit:
            return ModelChoice()
        raise InputError(
            "CTM_MODEL_UNFIT", path=config.model, given=f"{run.fit.model:.1f}", expected=f"{run.fit.baseline:.1f}"
        )
    return ModelChoice(manifest, run)


def _depth(model: Model) -> int:
    """Return how many slices its patches have."""
    return model.passes[0].shrinker.d // (PATCH[1] * PATCH[2])


def _has_depth_of(model: Model, volume: Volume) -> bool:
    """Return whether patches of the volume are as deep: those of a series of one or two slices are thinner."""
    slices = volume.shape[0]
    return slices == 1 or _depth(model) == min(PATCH[0], slices)


def choose_model(volume: Volume, models: ModelList, store: Location, config: Config) -> ModelChoice:
    """Choose the model of a store that fits a volume best.

    Models of the same protocol are tried: first those learnt on the same model of scanner, then the others. Of the
    first kind in which one fits, the model with the greatest likelihood of the series' patches is taken. A model fits
    if it knows the series at least as well as a mixture that is learnt on the series itself: see `HeldOut`.

    Parameters
    ----------
    volume : Volume
    models : ModelList
        Of the store, listed before the series was read.
    store : Path or Uri
    config : Config

    Raises
    ------
    InputError
        CTM_STORAGE_READ: the store does not answer. A damaged model is skipped.
    """
    protocol, skipped = Protocol.of(volume), list(models.skipped)
    candidates = sorted((rank, info.name) for info in models if (rank := _rank(info, protocol)) is not None)
    start: ModelRun | None = None
    best = ModelChoice()
    tried: list[dict[str, Any]] = []
    for rank, name in candidates:
        if best.run and rank > tried[-1]["rank"]:
            break
        try:
            with open_model(store, name) as (folder, manifest):
                model = Model.read(folder, manifest)
        except CtmahoutError as e:
            if not is_damage(e):
                raise
            skipped.append(DamagedModel(name, e))
            continue
        if not _has_depth_of(model, volume):
            continue
        run = start = start.with_model(model) if start else ModelRun.start(model, volume, config)
        if run.fit is None:  # there is no noise, or it cannot be measured: no model changes anything
            break
        tried.append({"name": name, "rank": rank, "log_likelihood": run.fit})
        if run.fit.is_good and (best.run is None or best.run.fit is None or run.fit.model > best.run.fit.model):
            best = ModelChoice(manifest, run)
    return replace(best, about=_about(models, protocol, tried, best, skipped, start))


def _rank(info: ModelInfo, protocol: Protocol) -> int | None:
    """Return 0 for a model of the same protocol and scanner, 1 for one of the same protocol, None for any other."""
    matching = [learnt for learnt in info.protocols if learnt.matches(protocol)]
    if not matching:
        return None
    return 0 if any(learnt.is_same_scanner(protocol) for learnt in matching) else 1


def _about(
    models: ModelList,
    protocol: Protocol,
    tried: list[dict[str, Any]],
    best: ModelChoice,
    skipped: list[DamagedModel],
    start: ModelRun | None,
) -> dict[str, Any]:
    """Return what ``run.json`` says of a choice."""
    chosen = best.manifest.sha256 if best.manifest else None
    return {
        "chosen": chosen,
        "reason": _reason(tried, best, start),
        "protocol": protocol.as_dict(),
        "tried": [
            {
                "name": one["name"],
                "same_scanner": one["rank"] == 0,
                "log_likelihood": round(one["log_likelihood"].model, 3),
            }
            for one in tried
        ],
        "own_log_likelihood": round(tried[0]["log_likelihood"].baseline, 3) if tried else None,
        "listed": len(models),
        "skipped": [{"name": one.name, "code": one.error.code} for one in skipped],
    }


def _reason(tried: list[dict[str, Any]], best: ModelChoice, start: ModelRun | None) -> str:
    """Return why a model was chosen, or none, as a sentence."""
    if best.manifest and best.run and best.run.fit:
        scanner = next(one["rank"] for one in tried if one["name"] == best.manifest.sha256) == 0
        same = "the same scanner and protocol" if scanner else "the same protocol, on another scanner"
        rivals = len([one for one in tried if one["name"] != best.manifest.sha256])
        among = f", more than {rivals} other{'s' if rivals > 1 else ''}" if rivals else ""
        fit = best.run.fit
        return (
            f"Model {best.manifest.sha256[:12]} was learnt on {same}; the log-likelihood of a patch is "
            f"{fit.model:.1f}{among}, that of a model of the series itself {fit.baseline:.1f}."
        )
    if start is not None and start.fit is None:
        return "No model was tried, for the series has no noise that can be measured."
    if not tried:
        return "Learnt from the series itself: no model of the store was learnt on its protocol."
    likeliest = max(one["log_likelihood"].model for one in tried)
    return (
        "Learnt from the series itself: no model of its protocol fits. The log-likelihood of a patch is "
        f"{likeliest:.1f} at most, that of a model of the series itself {tried[0]['log_likelihood'].baseline:.1f}."
    )
