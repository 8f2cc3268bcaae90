"""``algorithm="auto"``: dssvd or exact, whichever costs less; the rule of `Choice` in the JVM."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MAX_EXACT_COLUMNS", "Choice", "choose"]

# The eigendecomposition of A'A runs on one core of the driver: for more columns it takes too long.
MAX_EXACT_COLUMNS = 500


class Choice(NamedTuple):
    """An algorithm and the reason for it.

    Attributes
    ----------
    algorithm : str
        "dssvd" or "exact".
    why : str
        A sentence for the manifest.
    of_exact, of_dssvd : int
        Multiplications for each row of A.
    directions, passes : int
        For dssvd: columns of the projection, and passes over A for s and V.
    """

    algorithm: str
    why: str
    of_exact: int
    of_dssvd: int
    directions: int
    passes: int


def choose(columns: int, k: int | None, p: int, q: int) -> Choice:
    """Return the cheaper algorithm for a matrix with this number of columns.

    The cost is the number of multiplications for each row of A: for exact those of one half of A'A; for dssvd those of
    the products with k + p directions and back, once and for each of q power iterations.
    """
    r = min(columns, (k or columns) + p)
    # With as many directions as columns dssvd is exact without power iterations.
    passes = 1 if r == columns else q + 1
    of_exact, of_dssvd = columns * (columns + 1) // 2, 2 * columns * r * passes
    if columns > MAX_EXACT_COLUMNS:
        why = f"{columns} columns are more than the {MAX_EXACT_COLUMNS} whose A'A is decomposed on the driver"
        return Choice("dssvd", why, of_exact, of_dssvd, r, passes)
    costs = {"dssvd": of_dssvd, "exact": of_exact}
    cheaper, other = ("dssvd", "exact") if of_exact > of_dssvd else ("exact", "dssvd")
    why = (
        f"with {r} directions of {columns} columns, passes: {passes}, "
        f"{cheaper} multiplies {costs[cheaper]} times for a row, {other} {costs[other]} times"
    )
    return Choice(cheaper, why, of_exact, of_dssvd, r, passes)
