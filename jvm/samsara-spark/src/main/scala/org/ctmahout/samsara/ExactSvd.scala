package org.ctmahout.samsara

import org.apache.mahout.math.decompositions.DQR
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.scalabindings.eigen
import org.ctmahout.samsara.incore.GramMatrix

/**
 * The singular value decomposition of a narrow matrix from A'A, in one pass over A.
 *
 * A singular value s(i) comes out with a relative error like eps (s(0) / s(i))^2. Where that is not good enough, the
 * stochastic algorithm does it with a square projection, which is exact too and takes two passes and more.
 */
object ExactSvd {

  /** The ratio of singular values up to which their squares in A'A keep nine digits. */
  private val Reliable = 1e3

  /** And up to which the columns of A V / s are orthogonal to twelve digits as they are. */
  private val Orthogonal = 60.0

  /**
   * The leading k components of A.
   *
   * @throws IllegalArgumentException
   *   k is not in 1 .. min(m, n)
   * @throws ArithmeticException
   *   A has values that are not finite
   */
  def apply[K](a: CheckpointedDrm[K], k: Int, seed: Long): Svd[K] = {
    Svd.checkRank(k, a.nrow, a.ncol)
    Magnitude.safely(a)(ofGram(_, k, seed))
  }

  private def ofGram[K](a: CheckpointedDrm[K], k: Int, seed: Long): Svd[K] = {
    val gram = CallingDecomposition.within(CallingDecomposition.NoDecomposition)((a.t %*% a).collect)
    GramMatrix.requireFinite(gram)
    val (vectors, values) = eigen(gram) // descending
    val s = Array.tabulate(k)(i => math.sqrt(math.max(0.0, values.getQuick(i))))
    if (s(0) == 0.0 || s(0) > Reliable * s(k - 1)) StochasticSvd.accurate(a, k, p = a.ncol - k, q = 0, seed, negligible = 0.0)
    else {
      val signs = Svd.signs(vectors, k)
      val v = Svd.scaled(vectors, signs)
      def u = a %*% Svd.scaled(v, s.map(1 / _))
      def orthonormal = CallingDecomposition.within(CallingDecomposition.Other)(DQR.dqrThin(u)._1)
      new Svd(s, v, Nil, if (s(0) <= Orthogonal * s(k - 1)) u else orthonormal)
    }
  }
}
