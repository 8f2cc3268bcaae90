"""One pass over a volume: patches are assigned to groups, shrunk, and averaged where they overlap.

Work is done in layers, the patches that begin with the same slice; a layer depends on nothing but its number. So the
answer is the same for any number of threads, slabs or machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from .em import MAX_GROUPS_PER_PATCH, Assigner
from .grid import PatchGrid
from .kernels import add_up
from .mixture import Noise, NoisyMixture

__all__ = ["PatchFilter", "filter_slices", "filter_volume"]

Float32 = NDArray[np.float32]

# Of the noise's variance: limits the weight of what is shrunk to next to nothing, for its group may be wrong.
_WEIGHT_OFFSET = 0.04
_SLAB = 12  # slices sent at a time to remote workers, with the neighbours that their patches reach into


@dataclass(frozen=True, eq=False)
class PatchFilter:
    """Assigns patches to groups and shrinks them.

    Attributes
    ----------
    assigner : Assigner
        Assigns.
    shrinker : NoisyMixture
        Shrinks; of the same groups.
    pilot_weight, overfit_threshold : float
        The estimate is blended with the pilot: its share is pilot_weight (g - overfit_threshold), clipped to 0 and 1,
        where g is the share of components kept.
    """

    assigner: Assigner
    shrinker: NoisyMixture
    pilot_weight: float = 0.0
    overfit_threshold: float = 0.15

    def estimate(
        self, patches: Float32, noise: Noise, pilot: Float32 | None = None
    ) -> tuple[Float32, Float32, Float32]:
        """Return the posterior mean of each patch over its likeliest groups; how much was kept, and the errors.

        Parameters
        ----------
        patches : ndarray of shape (n, d), float32, HU
        noise : Noise
        pilot : ndarray of shape (n, d), float32, HU, optional
            The pilot's patches decide on the groups.

        Returns
        -------
        estimates, kept, errors
            As of `NoisyMixture.estimate`.
        """
        groups, shares = self.assigner.responsibilities(
            patches if pilot is None else pilot, noise, MAX_GROUPS_PER_PATCH
        )
        return self.shrinker.estimate(patches, noise, groups, shares, pilot)


@dataclass(frozen=True, eq=False)
class _Layer:
    """The sums of one layer of patches."""

    grid: PatchGrid
    pilot: PatchGrid | None
    filter: PatchFilter
    stride: tuple[int, int]
    is_last: bool

    def __call__(self, z: int) -> Float32:
        """Return the weighted sum and the weight, of shape (2, depth, y, x)."""
        grid, filter = self.grid, self.filter
        corners = (self.pilot or grid).layer(z, self.stride, sparse_in_air=self.is_last)
        middle = z + grid.patch[0] // 2
        noise = grid.noise_at(corners, grid.sd(middle, middle + 1), middle)
        patches = grid.patches_at(corners)
        pilot = self.pilot.patches_at(corners) if self.pilot else None
        estimates, kept, errors = filter.estimate(patches, noise, pilot)
        blend = np.zeros(len(patches), np.float32)
        if pilot is not None and filter.pilot_weight:
            blend = np.clip(filter.pilot_weight * (kept / patches.shape[1] - filter.overfit_threshold), 0, 1)
        sums = np.zeros((2, grid.patch[0], *grid.shape[1:]), np.float32)
        corners[:, 0] = 0
        of_pilot = patches if pilot is None else pilot
        add_up(sums[0], sums[1], corners, grid.patch, estimates, of_pilot, blend, errors, np.float32(_WEIGHT_OFFSET))
        return sums


def filter_slices(
    grid: PatchGrid,
    filter: PatchFilter,
    stride: tuple[int, int],
    workers: Workers,
    *,
    pilot: PatchGrid | None = None,
    is_last: bool = False,
    slices: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Float32]]:
    """Filter a volume.

    Parameters
    ----------
    grid : PatchGrid
    filter : PatchFilter
    stride : tuple of int
        Steps of patches in y and x; in z they lie in every slice.
    workers : Workers
    pilot : PatchGrid, optional
        An earlier result; patches are assigned by it.
    is_last : bool
        Whether the result is no pilot: then patches hardly overlap where there is nothing but air.
    slices : tuple of int, optional
        From the first to before the last; all, if not given.
    progress : callable, optional
        Called with slices done and slices in total.

    Yields
    ------
    z : int
    slice : ndarray of shape (y, x), float32, HU
    """
    first, stop = slices or (0, grid.shape[0])
    depth, last = grid.patch[0], grid.layers - 1
    layers = range(max(0, first - depth + 1), min(stop, last + 1))
    sums: dict[int, Float32] = {}
    work = _Layer(grid, pilot, filter, stride, is_last)
    done = first
    for z, layer in zip(layers, workers.map(work, layers), strict=True):
        for offset in range(depth):
            if first <= z + offset < stop:
                sums[z + offset] = sums.get(z + offset, 0) + layer[:, offset]
        # Layers come in ascending order: slices before the next one are complete.
        while done < (z + 1 if z < layers[-1] else stop):
            total, weight = sums.pop(done)
            yield done, total / weight
            done += 1
            if progress:
                progress(done - first, stop - first)


@dataclass(frozen=True, eq=False)
class _Slab:
    """Some slices of a volume, with those around them that their patches reach into.

    Attributes
    ----------
    grid, pilot : PatchGrid
    slices : tuple of int
        The first and the one after the last, counted in `grid`.
    """

    grid: PatchGrid
    pilot: PatchGrid | None
    slices: tuple[int, int]

    @classmethod
    def of(cls, grid: PatchGrid, pilot: PatchGrid | None, start: int, stop: int) -> _Slab:
        reach = grid.patch[0] - 1
        low, high = max(0, start - reach), min(grid.shape[0], stop + reach)
        return cls(grid.slab(low, high), pilot and pilot.slab(low, high), (start - low, stop - low))


@dataclass(frozen=True, eq=False)
class _SlabFilter:
    """Filters a slab, on one core."""

    filter: PatchFilter
    stride: tuple[int, int]
    is_last: bool

    @single_threaded_blas
    def __call__(self, slab: _Slab) -> Float32:
        """Return its slices, of shape (n, y, x)."""
        slices = filter_slices(
            slab.grid, self.filter, self.stride, Threads(1), pilot=slab.pilot, is_last=self.is_last, slices=slab.slices
        )
        return np.stack([image for _, image in slices])


def filter_volume(
    grid: PatchGrid,
    filter: PatchFilter,
    stride: tuple[int, int],
    workers: Workers,
    *,
    pilot: PatchGrid | None = None,
    is_last: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Float32:
    """Filter a whole volume; parameters as of `filter_slices`.

    Returns
    -------
    ndarray of the volume's shape, float32, HU
        The same bytes for any workers.
    """
    out = np.empty_like(grid.hu)
    if workers.is_remote:
        slabs = (_Slab.of(grid, pilot, z, min(z + _SLAB, len(out))) for z in range(0, len(out), _SLAB))
        done = 0
        for slab in workers.map(_SlabFilter(filter, stride, is_last), slabs):
            out[done : done + len(slab)] = slab
            done += len(slab)
            if progress:
                progress(done, len(out))
    else:
        for z, image in filter_slices(grid, filter, stride, workers, pilot=pilot, is_last=is_last, progress=progress):
            out[z] = image
    return out
