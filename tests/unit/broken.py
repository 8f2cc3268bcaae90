"""A head and a chest with known truth, and denoisers that are broken in one way each."""

import numpy as np
from scipy import ndimage

from ctmahout import Geometry, Volume

SIZE, SLICES = 192, 9


def noise(shape, sd, seed):
    """Noise with the spectrum of filtered back-projection, a ramp under a smooth window; white along z."""
    white = np.random.default_rng(seed).standard_normal(shape)
    f = np.hypot(np.fft.fftfreq(shape[1])[:, None], np.fft.fftfreq(shape[2])[None])
    found = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(f) * np.exp(-((f / 0.3) ** 2))).real
    return (sd * found / found.std()).astype(np.float32)


def volume(hu, spacing_mm=4.0, pixel_mm=0.9):
    along = np.arange(len(hu)) * spacing_mm
    positions = np.column_stack([np.zeros_like(along), np.zeros_like(along), along])
    geometry = Geometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (pixel_mm, pixel_mm))
    return Volume(np.asarray(hu, np.float32), geometry)


def head(sd=4.5):
    """A head in thick slices, (noisy, clean): scalp, skull, brain with sulci, falx, white matter and ventricles."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2.0
    y, x = y / (0.42 * SIZE), x / (0.34 * SIZE)
    r = np.hypot(y, x)
    folds = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((SLICES, SIZE, SIZE)), (1.2, 4, 4))
    folds /= folds.std()
    brain = r < 0.93
    hu = np.full(folds.shape, -1000.0)
    for outer, value in ((1.12, 30.0), (1.08, 900.0), (0.97, 8.0), (0.93, 36.0)):
        hu[:, r < outer] = value
    hu[brain & (r < 0.7 + 0.05 * folds)] = 29.0
    hu[brain & (np.abs(folds) < 0.13) & (r > 0.55)] = 10.0
    hu[:, brain & (np.abs(x) < 0.014)] = 55.0
    hu[:, np.hypot(y, 2.2 * (np.abs(x) - 0.13)) < 0.22] = 6.0
    clean = ndimage.gaussian_filter(hu, (0.3, 0.7, 0.7)).astype(np.float32)
    return volume(clean + noise(clean.shape, sd, 1)), volume(clean)


def trunk(sd=16.0):
    """Flat soft tissue in a ring of fat, (noisy, clean)."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2.0
    r = np.hypot(y, 0.9 * x) / SIZE
    image = np.select([r < 0.33, r < 0.44], [50.0, -100.0], -1000.0)
    clean = np.repeat(ndimage.gaussian_filter(image, 0.7)[None], SLICES, axis=0).astype(np.float32)
    return volume(clean + noise(clean.shape, sd, 2)), volume(clean)


def sound(noisy, clean, left=0.15):
    """A result that keeps all anatomy and a share of the noise."""
    return noisy.with_hu(clean.hu + np.float32(left) * (noisy.hu - clean.hu))
