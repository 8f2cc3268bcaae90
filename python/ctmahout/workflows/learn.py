"""Learn a model on many series: `learn`.

Series are read, and the groups of each region of patches found, by threads here or by Spark's executors: the same
functions on the same parts, so the same model. Mahout factors the groups, region by region.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._version import __version__
from ..denoising.patches import Model
from ..engines.workers import Threads, single_threaded_blas
from ..exchange import Manifest, add_model, is_exchange, refuse_no_store, write_model
from ..options import Config, option_error
from ..storage import Location, Uri, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import refuse_existing
from ..storage.kept import resumable_folder
from .dssvd import open_engine, options_of
from .learn_passes import Base, Learning, Progress

__all__ = ["learn"]


@single_threaded_blas
def learn(
    sources: Sequence[str | Path | Uri],
    model: str | Path | Uri | None = None,
    config: Config | None = None,
    *,
    store: str | Path | Uri | None = None,
    add: bool = False,
    session: object = None,
    progress: Progress | None = None,
    **options: Any,
) -> Manifest:
    """Learn groups and bases of patches on many series, from their noisy patches alone.

    Series should be of one protocol: one kernel, pixel size and slice thickness; doses may differ. More series feed
    more groups, and more groups take out noise better.

    Parameters
    ----------
    sources : sequence of path or URI
        Folders with one CT series each; a single one may stand by itself.
    model : path or URI, optional
        A new directory; `denoise` with ``model=`` uses it, without Spark.
    store : path or URI, optional
        Instead of `model`: a store of models, to which this one is added; it need not be there. `list_models` lists it,
        and `denoise` with ``models=`` takes the model that fits a series best.
    add : bool
        Improve `model`, which is there, by these series, and replace it. Those that it was learnt on count as before
        and need not be at hand any more. It keeps its number of groups.
    config : Config, optional
        ``groups``, ``seed``, ``engine`` and what `read_series` and `connect` take.
    session : SparkSession, optional
        A session of yours.
    progress : callable, optional
        See `ctmahout.denoising.registry.Progress`.
    **options
        Fields of `Config`, instead of `config`.

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        CTM_NOISE_UNMEASURABLE: a series has no noise to learn from. CTM_INPUT_TOO_SMALL: one has two slices, others
        more. CTM_MODEL_PROTOCOLS: series of several protocols, for a store or for a model to which they are added.
        CTM_MODEL_KNOWS: the model was learnt on a series that is to be added. Those of `read_series`.
    ConfigError
        CTM_CONFIG_VALUE: neither or both of `model` and `store`; `work` is no folder, or is not given although the
        master is a cluster; `sources` is empty; `groups` or `store` with `add`.
    EngineError, ExchangeError, OutputError

    Notes
    -----
    With a master or a session, series are read, groups are found and their matrices written by its executors, which see
    the same paths and URIs; else, and on Spark Connect, by threads here. The model is the same.

    With ``work``, each step's result is kept in that folder until the model is complete. A run of the same series and
    options that was stopped or killed goes on from there, to the same bytes; the series must not change in between, and
    two such runs must not share the folder at one time. It takes about a megabyte for each group.

    Examples
    --------
    >>> manifest = learn(["phantom/noisy"], "model", groups=20, engine="numpy")
    >>> manifest.kind
    'model'
    """
    config = options_of(config, options, "learn")
    if isinstance(sources, (str, Path, Uri)):
        sources = [sources]
    places = [parse_location(source) for source in sources]
    if not places:
        raise option_error("sources", places, "one series or more", source="learn")
    if add and (store is not None or config.groups is not None):
        name = "groups" if store is None else "store"
        expected = "nothing with add, which improves a model and keeps its number of groups"
        raise option_error(name, config.groups if store is None else store, expected, source="learn")
    if store is not None and model is None:
        return _learn_into_store(places, parse_location(store), config, session, progress)
    if model is None or store is not None:
        raise option_error("model", model, "a model or a store, and not both", source="learn")
    model = parse_location(model)
    for place in places:
        refuse_overlap(model, place)
    base = Base.read(model) if add else None
    overwrite = config.overwrite or add
    with upload_on_success(model, overwrite=overwrite, is_replaceable=is_exchange) as target:
        refuse_existing(target.absolute(), overwrite=overwrite, is_replaceable=is_exchange)
        learnt = _learn(places, config, session, progress, base=base)
        return write_model(target, learnt.arrays(), learnt.layout(), overwrite=overwrite)


def _learn_into_store(
    places: Sequence[Location], store: Location, config: Config, session: object, progress: Progress | None
) -> Manifest:
    for place in places:
        refuse_overlap(store, place)
    refuse_no_store(store)
    learnt = _learn(places, config, session, progress, one_protocol=True)
    return add_model(store, learnt.arrays(), learnt.layout())


def _learn(
    places: Sequence[Location],
    config: Config,
    session: object,
    progress: Progress | None,
    *,
    one_protocol: bool = False,
    base: Base | None = None,
) -> Model:
    places = [place.absolute() if isinstance(place, Path) else place for place in places]
    about = _about(places, config) | {"model": base.sha256 if base else None}
    with resumable_folder(_work(config), about) as folder, open_engine(config, session) as engine:
        spread = session is not None or bool(config.master)
        workers = engine.workers(config.workers) if spread else Threads.of(config.workers)
        passes, series = Learning(folder, config, engine, workers, progress, one_protocol, base).passes(places)
    return Model(passes, [*(base.model.learnt_on if base else ()), *(one.facts for one in series)])


def _work(config: Config) -> Path | None:
    """Return the folder to work in, which executors see too; None for the system's."""
    if config.work is None:
        if config.master is not None and not config.master.startswith("local"):
            raise option_error("work", None, f"a folder that the executors of {config.master} see as well")
        return None
    work = parse_location(config.work)
    if not isinstance(work, Path) or not work.is_dir():
        raise option_error("work", config.work, "a folder that is there")
    return work


def _about(places: Sequence[Location], config: Config) -> dict[str, Any]:
    """Return what a run that was stopped must have in common with the one that goes on."""
    options = ("groups", "algorithm", "k", "p", "q", "seed", "lenient", "unpack_gib")
    return {
        "ctmahout": __version__,
        "sources": [str(place) for place in places],
        **{name: getattr(config, name) for name in options},
    }
