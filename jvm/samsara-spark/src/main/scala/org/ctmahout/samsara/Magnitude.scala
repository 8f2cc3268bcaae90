package org.ctmahout.samsara

import org.apache.mahout.math.drm.CheckpointedDrm
import org.ctmahout.samsara.incore.NotFinite

/** Decompositions square: the squares of values beyond 1e154 are infinite, and those of values below 1e-154 are zero. */
private[samsara] object Magnitude {

  /** Singular values below, and above, may have lost digits to squares, or sums of squares, that are not normal numbers. */
  private val Small = 1e-130
  private val Large = 1e140

  /**
   * `decompose` of A; where the result is not finite or close to zero, of A times a power of two, which changes no digit.
   *
   * @throws ArithmeticException
   *   A has values, or singular values, that are not finite
   */
  def safely[K](a: CheckpointedDrm[K])(decompose: CheckpointedDrm[K] => Svd[K]): Svd[K] = {
    val first =
      try Right(decompose(a))
      catch { case e: NotFinite => Left(e) }
    val isFine = first.fold(_ => false, _.s.headOption.exists(s => s >= Small && s <= Large))
    if (isFine) first.toOption.get
    else {
      val largest = SparkEngine.largest(a)
      if (largest == 0.0 || first.isRight && largest >= Small && largest <= Large / 1e10) first.fold(e => throw e, identity)
      else if (!(largest <= Double.MaxValue)) throw new NotFinite("the matrix has values that are not finite")
      else {
        // In two factors, of which each is a normal number.
        val exponent = Math.getExponent(largest)
        val (p, q) = (exponent / 2, exponent - exponent / 2)
        decompose(SparkEngine.scaled(a, power(-p), power(-q))).times(power(p), power(q))
      }
    }
  }

  private def power(exponent: Int): Double = Math.scalb(1.0, exponent)
}
