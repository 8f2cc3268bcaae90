"""How much of each component is kept: the strengths of method ``slices``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...options import option_error
from ..strength import Strength

__all__ = ["Choice", "choose_rank"]

_RANKS = "auto, rank, energy or drop"


@dataclass(frozen=True)
class Choice:
    """What is kept of the components that were computed.

    Attributes
    ----------
    weights : ndarray of shape (k,), float64
        The factor of each component, from 0 to 1.
    rank : int
        Components with a weight above 0.
    energy : float
        Share of the matrix's squared Frobenius norm in what is kept.
    warnings : tuple of str
    """

    weights: NDArray[np.float64]
    rank: int
    energy: float
    warnings: tuple[str, ...] = ()


def choose_rank(
    s: NDArray[np.float64],
    strength: str | Strength,
    *,
    rows: int,
    columns: int,
    squared_norm: float,
    noise_sd: float | None = None,
) -> Choice:
    """Choose how much of each component to keep.

    ``auto`` shrinks every singular value by the rule that is optimal in the Frobenius norm for a low-rank signal in
    white noise of known level (Gavish and Donoho 2017, Optimal Shrinkage of Singular Values, eq. 7, with aspect ratio
    beta = n / m). The others keep whole components: the first N; the fewest that hold a share of the energy; all but a
    share of those computed.

    Parameters
    ----------
    s : ndarray of shape (k,), float64
        Singular values, descending.
    strength : str or Strength
    rows, columns : int
        Shape (m, n) of the matrix.
    squared_norm : float
        Its squared Frobenius norm.
    noise_sd : float, optional
        SD of the noise in one entry, in the matrix's units; needed by ``auto``.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: a strength of no known form, or rank:N above the components computed and the columns.

    Examples
    --------
    >>> import numpy as np
    >>> s = np.array([900.0, 300.0, 40.0, 39.0])
    >>> choice = choose_rank(s, "energy:0.99", rows=1000, columns=4, squared_norm=float((s**2).sum()))
    >>> choice.rank, choice.weights.tolist()
    (2, [1.0, 1.0, 0.0, 0.0])
    """
    strength = Strength.parse(strength) if isinstance(strength, str) else strength
    if strength.kind == "remove":
        raise option_error("strength", strength.text, _RANKS)
    k = s.size
    warnings: tuple[str, ...] = ()
    if strength.kind == "auto":
        if noise_sd is None:
            raise ValueError("strength auto needs noise_sd")
        weights, warnings = _shrinkage(s, rows, columns, noise_sd)
    else:
        if strength.kind == "rank":
            keep = int(strength.value)
            if keep > columns:
                raise option_error("strength", f"rank:{keep}", f"at most rank:{columns}")
            if keep > k:
                warnings = (f"rank:{keep} asked for, but only {k} components were computed or exist: all are kept.",)
        elif strength.kind == "energy":
            keep, warnings = _fewest(s, strength.value, squared_norm)
        else:
            keep = max(1, k - round(k * strength.value))
        weights = (np.arange(k) < keep).astype(np.float64)
    kept = float(np.sum((weights * s) ** 2))
    energy = min(1.0, kept / squared_norm) if squared_norm > 0 else 1.0
    return Choice(weights, int(np.count_nonzero(weights)), energy, warnings)


def _fewest(s: NDArray[np.float64], share: float, squared_norm: float) -> tuple[int, tuple[str, ...]]:
    wanted = share * squared_norm * (1 - 1e-12)
    sums = np.cumsum(s**2)
    if sums.size == 0 or sums[-1] >= wanted:
        return int(np.searchsorted(sums, wanted)) + 1, ()
    held = sums[-1] / squared_norm
    return s.size, (
        f"The {s.size} components computed hold {held:.4f} of the energy, less than {share:g}: all are kept; raise k.",
    )


def _shrinkage(
    s: NDArray[np.float64], rows: int, columns: int, noise_sd: float
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if noise_sd <= 0 or s.size == 0:
        return np.ones_like(s), ()
    beta = columns / rows
    y = s / (noise_sd * np.sqrt(rows))
    above = y > 1 + np.sqrt(beta)
    weights = np.zeros_like(s)
    # eta(y) / y with eta(y) = sqrt((y^2 - beta - 1)^2 - 4 beta) / y, zero below the edge of the noise's singular values
    weights[above] = np.sqrt((y[above] ** 2 - beta - 1) ** 2 - 4 * beta) / y[above] ** 2
    if above.all() and s.size < columns:
        return weights, (f"All {s.size} components computed stand above the noise: raise k to find where it begins.",)
    return weights, ()
