"""The loops over patches, compiled: gather, tell groups apart, shrink, and add up.

A patch is a row of a matrix: its voxels in the order z, y, x. None of these loops depends on the number of threads:
each call is one thread's, and what calls give is put together in a fixed order.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["add_up", "best_groups", "cells", "gather", "shrink"]

_jit = numba.njit(cache=True, nogil=True)
# Without Python's check of divisors loops become operations on vectors.
_fast = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_jit
def gather(volume, corners, size, out):  # type: ignore[no-untyped-def]
    """out[n] = the patch of `size` (z, y, x) at corners[n]."""
    for n in range(corners.shape[0]):
        q = 0
        for u in range(size[0]):
            for j in range(size[1]):
                for i in range(size[2]):
                    out[n, q] = volume[corners[n, 0] + u, corners[n, 1] + j, corners[n, 2] + i]
                    q += 1


@_jit
def add_up(total, weight, corners, size, estimates, pilot, blend, errors, offset):  # type: ignore[no-untyped-def]
    """Add estimates, blended with the pilot's patches by blend[n], to `total` at their places, and weights to `weight`.

    The weight of a voxel is 1 / (error + offset). estimates, pilot, errors [n, d].
    """
    for n in range(corners.shape[0]):
        q = 0
        for u in range(size[0]):
            for j in range(size[1]):
                for i in range(size[2]):
                    z, y, x = corners[n, 0] + u, corners[n, 1] + j, corners[n, 2] + i
                    w = np.float32(1) / (errors[n, q] + offset)
                    value = estimates[n, q] + blend[n] * (pilot[n, q] - estimates[n, q])
                    total[z, y, x] += w * value
                    weight[z, y, x] += w
                    q += 1


# Loops where numpy would do it in a line: arrays as a whole take numba seconds to compile.
@_fast
def _less(patches, order, start, stop, mean):  # type: ignore[no-untyped-def]
    """Return the patches order[start:stop], less the mean [d]."""
    out = np.empty((stop - start, patches.shape[1]), np.float32)
    for n in range(stop - start):
        for q in range(patches.shape[1]):
            out[n, q] = patches[order[start + n], q] - mean[q]
    return out


@_fast
def cells(patches, mean, projection, centres, nearest):  # type: ignore[no-untyped-def]
    """nearest[n] = the centre that is next to the features of patches[n]: see `mixture.CandidateIndex`."""
    order = np.arange(patches.shape[0])
    least, which = np.empty(512, np.float32), np.empty(512, np.int32)
    for start in range(0, patches.shape[0], 512):
        size = min(512, patches.shape[0] - start)
        features = np.dot(projection, _less(patches, order, start, start + size, mean).T)
        for f in range(features.shape[0]):
            for n in range(size):
                root = np.sqrt(abs(features[f, n]))
                features[f, n] = root if features[f, n] > 0 else -root
        products = np.dot(centres, features)
        for n in range(size):
            least[n], which[n] = 3e38, 0
        for c in range(centres.shape[0]):
            square = np.float32(0)
            for f in range(centres.shape[1]):
                square += centres[c, f] * centres[c, f]
            for n in range(size):
                distance = square - 2 * products[c, n]
                which[n] = c if distance < least[n] else which[n]
                least[n] = min(distance, least[n])
        for n in range(size):
            nearest[start + n] = which[n]


@_fast
def best_groups(  # type: ignore[no-untyped-def]
    patches, order, level, cell, variances, centre, table, candidates, block, groups, scores
):
    """groups[n] = the candidates of largest likelihood, descending; scores[n] = 2 l^2 log likelihood of each.

    Of patches [n, d] those in `order`, which is by cell [n]; level [n]: the row of the tables for the noise of each;
    variances [levels]: l^2.
    table: see `mixture._Table`. candidates: (names, first), of cell c names[first[c]:first[c + 1]]. block: coordinates
    that are looked at while they are in the processor's cache. groups, scores [n, most]: where there are fewer groups
    than `most`, the rest scores -3e38.
    """
    rows, first, offset, signal, constant = table
    names, first_name = candidates
    most, d = groups.shape[1], patches.shape[1]
    start, of, width = 0, -1, 0
    named, where, columns = names[:0], first[:0], rows[:0]
    while start < order.size:
        if cell[order[start]] != of:  # the rows of the candidates, one after the other
            of = cell[order[start]]
            named = names[first_name[of] : first_name[of + 1]]
            where = np.zeros(named.size + 1, np.int64)
            for k in range(named.size):
                where[k + 1] = where[k] + first[named[k] + 1] - first[named[k]]
            width = where[named.size]
            columns = np.empty((width, d), np.float32)
            for k in range(named.size):
                for j in range(where[k], where[k + 1]):
                    for q in range(d):
                        columns[j, q] = rows[first[named[k]] + j - where[k], q]
        stop = start
        while stop < order.size and stop - start < max(64, block // width) and cell[order[stop]] == of:
            stop += 1
        # Coordinates by patches: what follows is then one operation for as many patches as a register holds.
        projected = np.dot(columns, _less(patches, order, start, stop, centre).T)
        variance, score = np.empty(stop - start, np.float32), np.empty(stop - start, np.float32)
        for n in range(score.size):
            variance[n] = variances[level[order[start + n]]]
            for t in range(most):
                groups[order[start + n], t] = named[0]
                scores[order[start + n], t] = np.float32(-3e38)
        for k in range(named.size):
            group, last = named[k], where[k + 1] - 1
            shift = first[group] - where[k]
            for n in range(score.size):
                score[n] = 2 * projected[last, n] + variance[n] * constant[level[order[start + n]], group]
            for j in range(where[k], last):
                mean, power, row = offset[j + shift], signal[j + shift], projected[j]
                for n in range(score.size):
                    c = row[n] - mean
                    score[n] += power / (power + variance[n]) * c * c
            for n in range(score.size):
                at = order[start + n]
                if score[n] > scores[at, most - 1]:
                    t = most - 1
                    while t > 0 and score[n] > scores[at, t - 1]:
                        scores[at, t] = scores[at, t - 1]
                        groups[at, t] = groups[at, t - 1]
                        t -= 1
                    scores[at, t] = score[n]
                    groups[at, t] = group
        start = stop


@_fast
def shrink(  # type: ignore[no-untyped-def]
    patches,
    pilot,
    with_pilot,
    order,
    groups,
    shares,
    variance,
    means,
    noise_left,
    signal,
    outlier,
    estimates,
    kept,
    errors,
):
    """Add the estimates of patches, how much was kept, and their errors, by shares: see `NoisyMixture.estimate`.

    Of patches, pilot [n, d], groups, shares, variance [n] those in `order`, which is by group. means [K, d],
    noise_left [K]. signal: see `mixture._Signal`. outlier: squares of the residual in units of the variance, from which
    a patch stays.
    """
    first, variances, analysis, synthesis = signal
    d, start = patches.shape[1], 0
    while start < order.size:
        group, stop = groups[order[start]], start
        while stop < order.size and stop - start < 256 and groups[order[stop]] == group:
            stop += 1
        run, mean = order[start:stop], means[group]
        begin, end = first[group], first[group + 1]
        rows, columns = analysis[begin:end], synthesis[begin:end]
        centred = _less(patches, order, start, stop, mean)
        factors = np.empty((run.size, end - begin), np.float32)
        blank = np.zeros((run.size, d), np.float32)
        if end > begin:
            coordinates = np.dot(centred, rows.T)
            of_pilot = coordinates
            if with_pilot:
                of_pilot = np.dot(_less(pilot, order, start, stop, mean), rows.T)
            for n in range(run.size):
                noise = noise_left[group] * variance[run[n]]
                for j in range(end - begin):
                    power = variances[begin + j]
                    if with_pilot:
                        power = (power + of_pilot[n, j] * of_pilot[n, j]) / 2
                    factors[n, j] = power / (power + noise)
                    coordinates[n, j] *= factors[n, j]
            estimate = np.dot(coordinates, columns)
            error = blank
            if with_pilot:
                squares = np.empty((end - begin, d), np.float32)
                for j in range(end - begin):
                    for q in range(d):
                        squares[j, q] = columns[j, q] * columns[j, q]
                error = np.dot(factors, squares)
        else:
            estimate, error = blank, blank
        for n in range(run.size):
            at = run[n]
            residual, freedom = np.float32(0), np.float32(0)
            for q in range(d):
                residual += (centred[n, q] - estimate[n, q]) ** 2
            for j in range(end - begin):
                freedom += factors[n, j]
            share, stays = shares[at], residual >= outlier * variance[at]
            kept[at] += share * freedom
            for q in range(d):
                estimates[at, q] += share * (patches[at, q] if stays else mean[q] + estimate[n, q])
                errors[at, q] += share * (error[n, q] if with_pilot else freedom / d)
        start = stop
