package org.ctmahout.samsara

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.decompositions.DSSVD
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.incore.JacobiSvd

/**
 * Mahout's dssvd with a seed, and its result made accurate for any matrix.
 *
 * It takes s and V from the eigenvalues of B B', which squares the condition. But its result gives B'Uhat = V diag(s) back to
 * rounding; the singular value decomposition Z S W' of that narrow matrix by Jacobi rotations is accurate
 * for small values too. Then V = Z, s = S, U = U W.
 */
object StochasticSvd {

  /**
   * The leading k components of A, by Mahout's dssvd.
   *
   * @param p
   *   columns of the random projection beyond k; with k + p >= n the result is exact at q = 0
   * @param q
   *   power iterations
   * @throws IllegalArgumentException
   *   k is not in 1 .. min(m, n)
   * @throws ArithmeticException
   *   A has values that are not finite
   */
  def apply[K](a: CheckpointedDrm[K], k: Int, p: Int, q: Int, seed: Long): Svd[K] =
    Magnitude.safely(a)(accurate(_, k, p, q, seed, negligible = 0.0))

  /**
   * The same of A less the mean of each column: principal components, what Mahout's dspca computes.
   *
   * Not by its dspca, which multiplies A as it is and subtracts the means from the products: where two numbers are nearly
   * alike, half of the digits may be lost. Here the means are subtracted from a block whenever it is used; A is neither
   * changed nor copied.
   */
  def centred[K](a: CheckpointedDrm[K], k: Int, p: Int, q: Int, seed: Long): Svd[K] =
    Magnitude.safely(a)(lessMeans(_, k, p, q, seed))

  private def lessMeans[K](a: CheckpointedDrm[K], k: Int, p: Int, q: Int, seed: Long): Svd[K] = {
    val means = a.colMeans()
    val rounding = a.ncol * math.ulp(1.0) * math.sqrt(a.nrow.toDouble) * means.norm(Double.PositiveInfinity)
    val row = Array.tabulate(a.ncol)(means.getQuick)
    accurate(SparkEngine.less(a, row), k, p, q, seed, negligible = rounding).less(row)
  }

  /** A projection on as many directions as there are columns loses nothing, and power iterations would gain nothing. */
  private def useful(q: Int, a: DrmLike[_], k: Int, p: Int): Int = if (k + p.toLong >= a.ncol) 0 else q

  private[samsara] def accurate[K](
      a: CheckpointedDrm[K], k: Int, p: Int, q: Int, seed: Long, negligible: Double): Svd[K] = {
    Svd.checkRank(k, a.nrow, a.ncol)
    RandomUtils.seedNext(seed)
    val (u, v, s) = CallingDecomposition.within(CallingDecomposition.Dssvd) {
      DSSVD.dssvd(a, k, p, useful(q, a, k, p), CacheHint.MEMORY_AND_DISK)
    }
    val exact = JacobiSvd(Svd.scaled(v.collect, Array.tabulate(k)(s.getQuick)))
    val rank = Svd.rankOf(exact.s, k, a.ncol, negligible)
    val signs = Svd.signs(exact.u, rank)
    new Svd(
      exact.s.take(rank),
      Svd.scaled(exact.u, signs),
      Svd.warnings(rank, k),
      u %*% Svd.scaled(exact.v, signs))
  }
}
