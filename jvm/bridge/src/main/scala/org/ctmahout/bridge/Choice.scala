package org.ctmahout.bridge

/**
 * What `auto` takes.
 *
 * @param why
 *   a sentence for the manifest
 */
private[bridge] final case class Choice(algorithm: Algorithm, why: String)

private[bridge] object Choice {

  /** A'A of more columns is decomposed for too long, by one core of the driver. */
  private val MostColumns = 500

  /**
   * By what each multiplies for a row of A: one half of A'A, or its products with r directions and back, once and q times more. The
   * same rule as in python/ctmahout/engines/choice.py.
   */
  def between(columns: Int, k: Int, p: Int, q: Int): Choice = {
    val (n, r) = (columns.toLong, math.min(columns.toLong, k.toLong + p))
    // With as many directions as columns dssvd is exact, and Mahout is not asked for power iterations.
    val passes = if (r == n) 1 else 1 + q
    val (ofExact, ofDssvd) = (n * (n + 1) / 2, 2 * n * r * passes)
    if (n > MostColumns) Choice(Algorithm.Dssvd, s"$n columns are more than the $MostColumns whose A'A is decomposed on the driver")
    else if (ofExact > ofDssvd)
      Choice(
        Algorithm.Dssvd,
        s"with $r directions of $n columns, passes: $passes, dssvd multiplies $ofDssvd times for a row, exact $ofExact times")
    else
      Choice(
        Algorithm.Exact,
        s"with $r directions of $n columns, passes: $passes, exact multiplies $ofExact times for a row, dssvd $ofDssvd times")
  }
}
