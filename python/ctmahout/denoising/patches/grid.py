"""A volume as a grid of patches: their places, values and noise, and random ones to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..effort import PATCH
from ..noise import NoiseModel
from ..noise.grid import block_mean
from .em import Sample, kmeans
from .kernels import gather
from .mixture import Noise, nearest

__all__ = ["PatchGrid", "covariance_of", "patch_size"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Corners = NDArray[np.int32]

_AIR_HU, _AIR_CELL = -950.0, 4  # mean of a cell of so many pixels that holds nothing but air
_AIR_SHARE = 20  # of patches to learn from, one in so many may lie in air
_OPEN_AIR_CELL, _OPEN_AIR_STRIDE = 8, 4  # pixels; away from the body, patches need hardly overlap
_LEAST = 5000  # patches to learn from, if need be in air


def covariance_of(autocovariance: Float64, along_z: tuple[float, float], patch: tuple[int, int, int]) -> Float64:
    """Return the covariance (d, d) of a patch of noise with this autocovariance in the slice and these along z."""
    z, y, x = (axis.ravel() for axis in np.mgrid[: patch[0], : patch[1], : patch[2]])
    centre = autocovariance.shape[-1] // 2
    along = np.array([1.0, *along_z, *np.zeros(patch[0])])[np.abs(z[:, None] - z)]
    covariance = autocovariance[y[:, None] - y + centre, x[:, None] - x + centre] * along
    symmetric: Float64 = (covariance + covariance.T) / 2
    return symmetric


def patch_size(hu: Float32) -> tuple[int, int, int]:
    """Return the size of patches in a volume: `PATCH`, but no deeper than the volume."""
    return min(PATCH[0], len(hu)), PATCH[1], PATCH[2]


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """A volume and its noise, as patches.

    Attributes
    ----------
    hu : ndarray of shape (z, y, x), float32, HU
    noise : NoiseModel
    patch : tuple of int
        Size in z, y, x.
    noise_class : ndarray of shape (z, gy, gx), int32
        Kind of place on the noise's grid: which of `noise_classes` its noise is of.
    covariances : ndarray of shape (noise_classes, d, d), float64
        Of a patch of noise, for an SD of 1.
    first : int
        Number of the first slice, in a slab of a larger volume.
    """

    hu: Float32
    noise: NoiseModel
    patch: tuple[int, int, int]
    noise_class: NDArray[np.int32]
    covariances: Float64
    first: int = 0

    @classmethod
    def of(cls, hu: Float32, noise: NoiseModel, noise_classes: int, rng: np.random.Generator) -> PatchGrid:
        """Tell noise_classes of place by the direction of their noise."""
        patch = patch_size(hu)
        sectors = len(noise.sector_share)
        directions = np.sqrt(noise.sector_share.reshape(sectors, -1).T)
        chosen = rng.choice(len(directions), min(len(directions), 60_000), replace=False)
        centres = kmeans(directions[chosen], noise_classes, rng)
        noise_class = nearest(directions, centres)
        shares = [
            noise.sector_share.reshape(sectors, -1)[:, noise_class == k].mean(axis=1, dtype=np.float64)
            if (noise_class == k).any()
            else np.full(sectors, 1 / sectors)
            for k in range(noise_classes)
        ]
        covariances = [
            covariance_of(np.tensordot(share, noise.autocovariance, 1), noise.z_correlation, patch) for share in shares
        ]
        return cls(
            hu, noise, patch, noise_class.reshape(noise.sector_share.shape[1:]).astype(np.int32), np.array(covariances)
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the volume."""
        z, y, x = self.hu.shape
        return z, y, x

    @property
    def layers(self) -> int:
        """Slices that a patch can begin with."""
        return self.shape[0] - self.patch[0] + 1

    def sd(self, start: int, stop: int) -> Float32:
        """Return the noise's SD in slices, of shape (stop - start, y, x), HU."""
        return self.noise.sigma_hu(start, stop, *self.shape[1:])

    def with_hu(self, hu: Float32) -> PatchGrid:
        """Return the same places in another volume of the same shape."""
        return replace(self, hu=hu)

    def slab(self, start: int, stop: int) -> PatchGrid:
        """Return slices `start` to `stop` as a volume of their own, in which patches lie where they lie in this one."""
        return replace(
            self,
            hu=self.hu[start:stop],
            noise=self.noise.slab(start, stop),
            noise_class=self.noise_class[start:stop],
            first=self.first + start,
        )

    # ------------------------------------------------------------------------------------------------------ patches

    def patches_at(self, corners: Corners) -> Float32:
        """Return the patches at these corners (z, y, x), of shape (n, d), HU."""
        out = np.empty((len(corners), int(np.prod(self.patch))), np.float32)
        gather(self.hu, corners, self.patch, out)
        return out

    def noise_at(self, corners: Corners, sd: Float32, first: int) -> Noise:
        """Return the noise of patches at these corners: that at their middle.

        `sd` is that of slices from `first` on.
        """
        z, y, x = (corners[:, axis] + self.patch[axis] // 2 for axis in range(3))
        cell = self.noise.cell
        at_y, at_x = (np.minimum(v // cell, self.noise_class.shape[axis] - 1) for v, axis in ((y, 1), (x, 2)))
        return Noise(sd[z - first, y, x], self.noise_class[z, at_y, at_x])

    def layer(self, z: int, stride: tuple[int, int], *, sparse_in_air: bool = False) -> Corners:
        """Return the corners of the patches that begin with slice z, on a grid staggered from layer to layer.

        With `sparse_in_air` the grid is coarser where there is nothing but air.
        """
        number = self.first + z
        offsets = number + number // 2, number
        y, x = self._axes(stride, offsets)
        kept = np.ones((len(y), len(x)), np.bool_)
        if sparse_in_air:
            few_y, few_x = self._axes([step * max(1, _OPEN_AIR_STRIDE // step) for step in stride], offsets)
            cells = np.ix_((y + self.patch[1] // 2) // _OPEN_AIR_CELL, (x + self.patch[2] // 2) // _OPEN_AIR_CELL)
            kept = ~self._open_air(z)[cells] | np.logical_and.outer(np.isin(y, few_y), np.isin(x, few_x))
        rows, columns = np.nonzero(kept)
        return np.stack([np.full(len(rows), z), y[rows], x[columns]], axis=1).astype(np.int32)

    def _axes(self, stride: Sequence[int], offsets: Sequence[int]) -> list[NDArray[np.int64]]:
        """Return the rows and the columns of patches that lie `stride` apart."""
        return [
            _axis(size - side, step, offset % step)
            for size, side, step, offset in zip(self.shape[1:], self.patch[1:], stride, offsets, strict=True)
        ]

    def _open_air(self, z: int) -> NDArray[np.bool_]:
        """Return the cells, of shape (gy, gx), that with all cells beside them are air in the slices of a layer."""
        air = (block_mean(self.hu[z : z + self.patch[0]], _OPEN_AIR_CELL) < _AIR_HU).all(axis=0)
        alone: NDArray[np.bool_] = ndimage.minimum_filter(air, 3, mode="nearest")
        return alone

    def draw(self, count: int, rng: np.random.Generator) -> Corners:
        """Return the corners of up to `count` different patches, in the order of their slices.

        Few of them lie in air: it has no anatomy to learn, and would take most of the groups for its noise.
        """
        sizes = [n - p + 1 for n, p in zip(self.shape, self.patch, strict=True)]
        total = int(np.prod(sizes))
        air = block_mean(self.hu, _AIR_CELL) < _AIR_HU
        looked_at = min(total, int(count / max(1 - air.mean(), 0.125)) + count // 8)
        chosen = np.arange(total) if looked_at == total else rng.choice(total, looked_at, replace=False)
        if looked_at == total:
            chosen = rng.permutation(chosen)
        z, y, x = (at + size // 2 for at, size in zip(np.unravel_index(chosen, sizes), self.patch, strict=True))
        in_air = air[z, y // _AIR_CELL, x // _AIR_CELL]
        of_air = min(int(in_air.sum()), max(count // _AIR_SHARE, min(count, _LEAST) - int((~in_air).sum())))
        chosen = np.sort(np.concatenate([chosen[~in_air][: count - of_air], chosen[in_air][:of_air]]))
        return np.stack(np.unravel_index(chosen, sizes), axis=1).astype(np.int32)

    def sample(self, corners: Corners, pilot: PatchGrid | None = None) -> Sample:
        """Return patches to learn from, at corners as `draw` gives them."""
        first, last = int(corners[0, 0]), int(corners[-1, 0])
        noises = []
        for start in range(first, last + 1, 16):  # the SD of all slices at once would take the volume's size
            block = corners[np.searchsorted(corners[:, 0], start) : np.searchsorted(corners[:, 0], start + 16)]
            if len(block):
                sd = self.sd(start, min(start + 16 + self.patch[0], self.shape[0]))
                noises.append(self.noise_at(block, sd, start))
        noise = Noise(np.concatenate([n.sigma_hu for n in noises]), np.concatenate([n.noise_class for n in noises]))
        return Sample(self.patches_at(corners), noise, pilot.patches_at(corners) if pilot else None)


def _axis(last: int, stride: int, offset: int) -> NDArray[np.int64]:
    """Return places from 0 to last, both included."""
    return np.unique(np.concatenate([[0, last], np.arange(offset, last + 1, stride)]))
