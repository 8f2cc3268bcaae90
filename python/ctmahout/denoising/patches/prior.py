"""What a model says of patches that are no longer there, so that it can be improved by those of other series."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from .mixture import CandidateIndex, Mixture, NoiseCovariances
from .moments import Moments

__all__ = ["Prior", "moments_of_mixture", "rows_of"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prior:
    """Groups of a model, and how many patches they were learnt from.

    Attributes
    ----------
    assigner : Mixture
    candidates : CandidateIndex
    shrinker : Mixture
        The same groups.
    counts : ndarray of shape (K,), float64
        Patches of each group.
    """

    assigner: Mixture
    candidates: CandidateIndex
    shrinker: Mixture
    counts: Float64

    @property
    def patches(self) -> float:
        """Of all groups."""
        return float(self.counts.sum())

    def share_of(self, total: float) -> tuple[Mixture, CandidateIndex]:
        """Return the groups as a part of `total` patches, and those in question for a patch."""
        return replace(self.assigner, weights=self.counts / total), self.candidates


def moments_of_mixture(
    mixture: Mixture, counts: Float64, mean_noise: Float64, noise_covariances: NoiseCovariances
) -> Moments:
    """Return the moments of as many patches of each group, as if they had been scanned with this noise.

    Their scatter is that of the group's signal and of the noise; along the basis, of the share of it that is left.

    Parameters
    ----------
    mixture : Mixture
    counts : ndarray of shape (K,), float64
    mean_noise : ndarray of shape (classes,), float64, HU^2
    noise_covariances : NoiseCovariances
    """
    whiten, colour = noise_covariances.roots(mean_noise)
    scatter = np.empty((len(mixture), mixture.d, mixture.d))
    for k, basis in enumerate(mixture.bases):
        signal, directions = linalg.svd(whiten @ basis, full_matrices=False)[1::-1]
        along = colour @ directions
        more = signal**2 + mixture.noise_left[k] - 1
        scatter[k] = counts[k] * (colour @ colour + (along * more) @ along.T)
    return Moments(counts, mixture.means, scatter, counts[:, None] * mean_noise)


def rows_of(earlier: Moments, moments: Moments, group: int, noise_covariances: NoiseCovariances) -> Float32:
    """Return rows that have the scatter of earlier patches, as `whitened_rows` has those of patches.

    A decomposition of what came before, in place of it, with the rows that are new leads to the right singular vectors
    of all rows (Levy and Lindenbaum 2000, IEEE Trans. Image Processing 9(8), 1371).

    Parameters
    ----------
    earlier : Moments
    moments : Moments
        Of all patches: their mean is taken off, and their mean noise whitens.
    group : int
    noise_covariances : NoiseCovariances

    Returns
    -------
    ndarray of shape (d, d), float32
    """
    whiten, _ = noise_covariances.roots(moments.mean_noise[group])
    shift = earlier.means[group] - moments.means[group]
    scatter = earlier.scatter[group] + earlier.count[group] * np.outer(shift, shift)
    variances, vectors = np.linalg.eigh(whiten @ scatter @ whiten)
    rows: Float32 = (vectors * np.sqrt(np.maximum(variances, 0))).T.astype(np.float32)
    return rows
