"""One pass over a volume: every patch goes to its group, is shrunk there, and the overlapping guesses are averaged.

Work is done in layers, the patches that begin with the same slice; a layer depends on nothing but its number. So the
answer is the same for any number of threads, slabs or machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.workers import Threads, Workers, single_threaded_blas
from .em import GROUPS_OF_A_PATCH
from .grid import View
from .kernels import add_up
from .mixture import Noise, Prepared

__all__ = ["Filter", "filtered", "run_pass"]

Float32 = NDArray[np.float32]

_EASE = 3.0  # components: a patch of which hardly anything is kept must not outweigh all others, its group may be wrong
_SLAB = 12  # slices: what is sent at a time to workers elsewhere, with the neighbours that their patches reach into


@dataclass(frozen=True, eq=False)
class Filter:
    """What a pass does with patches.

    Attributes
    ----------
    telling : Prepared
        Tells the group of a patch.
    shrinking : Prepared
        Shrinks it there; the same groups.
    mix, knee : float
        A share mix (g - knee), from 0 to 1, of the pilot's patch is taken, where g is the share of components kept.
    """

    telling: Prepared
    shrinking: Prepared
    mix: float = 0.0
    knee: float = 0.15

    def estimate(self, patches: Float32, noise: Noise, pilot: Float32) -> tuple[Float32, Float32]:
        """Return the posterior mean of each patch over its likeliest groups, and how many components were kept.

        Parameters
        ----------
        patches, pilot : ndarray of shape (n, d), float32, HU
            The pilot's patches decide on the groups.
        noise : Noise
        """
        groups, shares = self.telling.responsibilities(pilot, noise, GROUPS_OF_A_PATCH)
        guesses, kept = self.shrinking.estimate(patches, noise, groups[:, 0])
        guesses *= shares[:, :1]
        kept *= shares[:, 0]
        for rank in range(1, groups.shape[1]):
            also = np.flatnonzero(shares[:, rank])
            share = shares[also, rank]
            other, other_kept = self.shrinking.estimate(patches[also], noise[also], groups[also, rank])
            guesses[also] += share[:, None] * other
            kept[also] += share * other_kept
        return guesses, kept


@dataclass(frozen=True, eq=False)
class _Layer:
    """The sums of one layer of patches."""

    view: View
    pilot: View | None
    filter: Filter
    stride: tuple[int, int]

    def __call__(self, z: int) -> Float32:
        """Return the weighted sum and the weight, of shape (2, depth, y, x)."""
        view, filter = self.view, self.filter
        corners = view.layer(z, self.stride)
        middle = z + view.patch[0] // 2
        noise = view.noise_at(corners, view.sd(middle, middle + 1), middle)
        patches = view.take(corners)
        pilot = self.pilot.take(corners) if self.pilot else patches
        guesses, kept = filter.estimate(patches, noise, pilot)
        if self.pilot and filter.mix:
            share = np.clip(filter.mix * (kept / patches.shape[1] - filter.knee), 0, 1)[:, None]
            guesses += share * (pilot - guesses)
        depth = view.patch[0]
        sums = np.zeros((2, depth, *view.shape[1:]), np.float32)
        corners[:, 0] = 0
        add_up(sums[0], sums[1], corners, view.patch, guesses, 1 / (np.float32(_EASE) + kept))
        return sums


def run_pass(
    view: View,
    filter: Filter,
    stride: tuple[int, int],
    workers: Workers,
    *,
    pilot: View | None = None,
    slices: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Float32]]:
    """Filter a volume.

    Parameters
    ----------
    view : View
    filter : Filter
    stride : tuple of int
        Steps of patches in y and x; in z they lie in every slice.
    workers : Workers
    pilot : View, optional
        An earlier result; groups are told by it.
    slices : tuple of int, optional
        From the first to before the last: all, if not given.
    progress : callable, optional
        Gets slices done and slices there are.

    Yields
    ------
    z : int
    slice : ndarray of shape (y, x), float32, HU
    """
    first, stop = slices or (0, view.shape[0])
    depth, last = view.patch[0], view.layers - 1
    layers = range(max(0, first - depth + 1), min(stop, last + 1))
    sums: dict[int, Float32] = {}
    work = _Layer(view, pilot, filter, stride)
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
    view, pilot : View
    slices : tuple of int
        The first and the one after the last, counted in `view`.
    """

    view: View
    pilot: View | None
    slices: tuple[int, int]

    @classmethod
    def of(cls, view: View, pilot: View | None, start: int, stop: int) -> _Slab:
        reach = view.patch[0] - 1
        low, high = max(0, start - reach), min(view.shape[0], stop + reach)
        return cls(view.slab(low, high), pilot and pilot.slab(low, high), (start - low, stop - low))


@dataclass(frozen=True, eq=False)
class _SlabFilter:
    """Filters a slab, on one core."""

    filter: Filter
    stride: tuple[int, int]

    @single_threaded_blas
    def __call__(self, slab: _Slab) -> Float32:
        """Return its slices, of shape (n, y, x)."""
        found = run_pass(slab.view, self.filter, self.stride, Threads(1), pilot=slab.pilot, slices=slab.slices)
        return np.stack([image for _, image in found])


def filtered(
    view: View,
    filter: Filter,
    stride: tuple[int, int],
    workers: Workers,
    *,
    pilot: View | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float32:
    """Return what `run_pass` makes of a whole volume, of its shape, HU: the same bytes wherever the workers are."""
    out = np.empty_like(view.hu)
    if workers.elsewhere:
        slabs = (_Slab.of(view, pilot, z, min(z + _SLAB, len(out))) for z in range(0, len(out), _SLAB))
        done = 0
        for found in workers.map(_SlabFilter(filter, stride), slabs):
            out[done : done + len(found)] = found
            done += len(found)
            if progress:
                progress(done, len(out))
    else:
        for z, image in run_pass(view, filter, stride, workers, pilot=pilot, progress=progress):
            out[z] = image
    return out
