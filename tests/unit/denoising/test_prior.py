"""Patches that are no longer there: their moments from a mixture, and the rows that stand for them."""

import numpy as np
import pytest

from ctmahout.denoising.patches.mixture import Mixture, Noise, NoiseCovariances
from ctmahout.denoising.patches.moments import Rule, mixture_from_moments, moments_of, whitened_rows
from ctmahout.denoising.patches.prior import moments_of_mixture, rows_of

D = 12
CLASSES = NoiseCovariances(np.array([np.eye(D), np.eye(D) + 0.4 * (np.eye(D, k=1) + np.eye(D, k=-1))]))
NOISE = np.array([20.0, 5.0])  # HU^2 of each class


def mixture_of(rng, noise_left):
    """Groups of rank 1 to 3, far above the noise."""
    bases = tuple(40 * rng.standard_normal((D, rank)) for rank in (1, 2, 3))
    return Mixture(rng.uniform(-100, 100, (3, D)), bases, np.array([0.2, 0.3, 0.5]), np.full(3, noise_left))


@pytest.mark.parametrize(("noise_left", "slope"), [(1.0, 0.0), (0.9, 1.0)])
def test_the_moments_of_a_mixture_are_of_that_mixture(noise_left, slope):
    """As many patches as were there give the same groups again, with each rule for the noise that is left."""
    mixture = mixture_of(np.random.default_rng(0), noise_left)
    counts = 1e4 * mixture.weights
    moments = moments_of_mixture(mixture, counts, NOISE, CLASSES)
    again = mixture_from_moments(moments, CLASSES, Rule(overfit_slope=slope, overfit_threshold=0.0))
    np.testing.assert_allclose(again.means, mixture.means)
    np.testing.assert_allclose(again.weights, mixture.weights)
    noise = CLASSES.mixed(NOISE)
    for k, basis in enumerate(mixture.bases):
        assert again.bases[k].shape == basis.shape
        along = basis.T @ np.linalg.inv(noise)  # its directions, as they are once noise is whitened
        left = np.array([again.noise_left[k], noise_left])
        one, other = (b @ b.T + share * noise for b, share in zip((again.bases[k], basis), left, strict=True))
        np.testing.assert_allclose(along @ one @ along.T, along @ other @ along.T, rtol=1e-9)


def test_rows_in_place_of_patches_lead_to_the_factors_of_all():
    rng = np.random.default_rng(1)
    basis = 30 * rng.standard_normal((D, 4))
    patches = (rng.standard_normal((900, 4)) @ basis.T + 5 * rng.standard_normal((900, D)) + 40).astype(np.float32)
    patches[600:] += 60  # the new ones lie elsewhere
    noise = Noise(np.full(900, 5, np.float32), rng.integers(0, 2, 900).astype(np.int32))
    weights = rng.uniform(0.2, 1, 900).astype(np.float32)
    group = np.zeros(900, np.int64)
    earlier, new = (
        moments_of(patches[of], noise[of], group[of], 1, 2, weights[of]) for of in np.split(np.arange(900), [600])
    )
    together = earlier + new
    every = whitened_rows(patches, weights, together, 0, CLASSES)
    after = whitened_rows(patches[600:], weights[600:], together, 0, CLASSES)
    stand_in = rows_of(earlier, together, 0, CLASSES)
    assert stand_in.shape == (D, D)
    gram = lambda rows: rows.T.astype(np.float64) @ rows  # noqa: E731
    np.testing.assert_allclose(
        gram(stand_in) + gram(after), gram(every), rtol=1e-4, atol=1e-3 * np.abs(gram(every)).max()
    )
    # Rows that are not shifted to the common mean would not do.
    assert (
        np.abs(gram(rows_of(earlier, earlier, 0, CLASSES)) + gram(after) - gram(every)).max()
        > 0.01 * np.abs(gram(every)).max()
    )
