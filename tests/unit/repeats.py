"""Repeated scans of a known object: a cylinder with inserts, and noise as filtered back-projection has it."""

import numpy as np
from scipy import ndimage

from ctmahout.volume import Geometry, Volume

SHAPE = (12, 128, 128)
SPACING = (0.8, 0.8)
VOXEL = (1.6, *SPACING)
SD = 20.0
# HU, radius in pixels, row and column from the centre: lung, fat, bone, and two that are almost water.
INSERTS = ((-800, 9, -24, -10), (-90, 9, 4, -28), (900, 8, 26, 4), (60, 9, -8, 24), (25, 4, 12, -2))


def phantom(shape=SHAPE, inserts=INSERTS, drift=0.4):
    """The object as the mean of many scans shows it; inserts are slanted, so that every slice is another one."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape[1:])
    y, x = np.meshgrid(rows, columns, indexing="ij")
    slices = []
    for z in range(shape[0]):
        image = np.where(np.hypot(y, x) < 52, 0.0, -1000.0)
        for hu, radius, row, column in inserts:
            image[np.hypot(y - row - drift * (z - shape[0] / 2), x - column) < radius] = hu
        slices.append(ndimage.gaussian_filter(image, 1.0))
    return np.array(slices, np.float32)


def noise(seed, sd=SD, shape=SHAPE, peak=0.25):
    """Gaussian noise with a ramp in its spectrum, independent from slice to slice."""
    f = np.hypot(np.fft.fftfreq(shape[1])[:, None], np.fft.fftfreq(shape[2]))
    filtered = np.sqrt(f * np.exp(-((f / peak) ** 2)))
    filtered *= sd / np.sqrt(np.mean(filtered**2))
    white = np.random.default_rng(seed).standard_normal(shape)
    return np.fft.ifft2(np.fft.fft2(white) * filtered).real.astype(np.float32)


def scans(x, seed, sd=(SD, SD)):
    return x + noise([seed, 1], sd[0], x.shape), x + noise([seed, 2], sd[1], x.shape)


def moved(x, shift):
    return ndimage.shift(x, shift, order=5, mode="nearest").astype(np.float32)


def blurred(hu, sd=0.8):
    return ndimage.gaussian_filter(hu, (0, sd, sd))


def breathing(hu):
    """The object with a part that has moved by some pixels."""
    z, y, x = np.mgrid[: hu.shape[0], : hu.shape[1], : hu.shape[2]].astype(np.float64)
    bulge = 1.5 * np.exp(-((y - 40) ** 2 + (x - 54) ** 2) / (2 * 12**2))
    return ndimage.map_coordinates(hu, [z, y + bulge, x], order=3, mode="nearest").astype(np.float32)


def volume(hu, voxel=VOXEL):
    positions = np.column_stack([np.zeros(len(hu)), np.zeros(len(hu)), voxel[0] * np.arange(len(hu))])
    return Volume(hu.astype(np.float32), Geometry(positions, np.eye(3)[0], np.eye(3)[1], voxel[1:]))
