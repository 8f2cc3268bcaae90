"""What ``algorithm="auto"`` takes: dssvd or exact, whichever costs less; the JVM has the same rule in `Choice`."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MOST_COLUMNS", "Choice", "choose"]

# A'A of more columns is decomposed for too long, by one core of the driver.
MOST_COLUMNS = 500


class Choice(NamedTuple):
    """An algorithm, and why it was taken.

    Attributes
    ----------
    algorithm : str
        "dssvd" or "exact".
    why : str
        A sentence for the manifest.
    of_exact, of_dssvd : int
        Products for a row of A.
    directions, passes : int
        Of dssvd: columns of its projection, and passes over A for s and V.
    """

    algorithm: str
    why: str
    of_exact: int
    of_dssvd: int
    directions: int
    passes: int


def choose(columns: int, k: int | None, p: int, q: int) -> Choice:
    """Return what suits a matrix of so many columns.

    By what each multiplies for a row of A: one half of A'A, or its products with k + p directions and back, once and q
    times more.
    """
    r = min(columns, (k or columns) + p)
    # With as many directions as columns dssvd is exact, and Mahout is not asked for power iterations.
    passes = 1 if r == columns else q + 1
    of_exact, of_dssvd = columns * (columns + 1) // 2, 2 * columns * r * passes
    if columns > MOST_COLUMNS:
        why = f"{columns} columns are more than the {MOST_COLUMNS} whose A'A is decomposed on the driver"
        return Choice("dssvd", why, of_exact, of_dssvd, r, passes)
    works = {"dssvd": of_dssvd, "exact": of_exact}
    taken, other = ("dssvd", "exact") if of_exact > of_dssvd else ("exact", "dssvd")
    why = (
        f"with {r} directions of {columns} columns, passes: {passes}, "
        f"{taken} multiplies {works[taken]} times for a row, {other} {works[other]} times"
    )
    return Choice(taken, why, of_exact, of_dssvd, r, passes)
