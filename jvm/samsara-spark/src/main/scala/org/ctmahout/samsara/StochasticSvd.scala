package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.Matrix
import org.apache.mahout.math.decompositions.DSSVD
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._

/**
 * A ~ U diag(s) V'.
 *
 * @param s
 *   singular values, descending, of the rank found
 * @param v
 *   n x rank, orthonormal columns; in each the entry of largest magnitude is positive
 * @param u
 *   m x rank, on the cluster, computed when it is used
 * @param warnings
 *   what the caller should know
 */
final case class StochasticSvd[K](s: Array[Double], v: DenseBlock, u: DrmLike[K], warnings: Seq[String]) {
  def rank: Int = s.length

  /** The largest entry of |V'V - I|. */
  def orthogonality: Double = {
    val gram = new Products.Gram(rank)
    gram.add(v)
    val sum = gram.sum
    val errors = for (i <- 0 until rank; j <- 0 until rank) yield math.abs(sum(i * rank + j) - (if (i == j) 1.0 else 0.0))
    if (errors.isEmpty) 0.0 else errors.max
  }
}

object StochasticSvd {
  private val Eps = math.ulp(1.0)

  /**
   * Mahout's dssvd with a seed, and its result made accurate for any matrix.
   *
   * dssvd takes s and V from the eigenvalues of B B', which squares the condition. From its result B'Uhat = V diag(s) comes
   * back to rounding, though; the singular value decomposition Z S W' of that narrow matrix by Jacobi rotations is accurate
   * for small values too. Then V = Z, s = S, U = U W.
   *
   * @throws IllegalArgumentException
   *   k is not in 1 .. min(m, n)
   */
  def apply[K: ClassTag](a: CheckpointedDrm[K], k: Int, p: Int, q: Int, seed: Long): StochasticSvd[K] = {
    require(k >= 1 && k <= math.min(a.nrow, a.ncol.toLong), s"k = $k for a matrix of ${a.nrow} x ${a.ncol}")
    RandomUtils.seedNext(seed)
    val (u, v, s) = DSSVD.dssvd(a, k, p, q, CacheHint.MEMORY_AND_DISK)
    val bu = Products.dense(v.collect)
    for (i <- 0 until bu.rowSize; j <- 0 until k) bu.setQuick(i, j, bu.getQuick(i, j) * s.getQuick(j))
    val exact = JacobiSvd(bu)
    val tiny = a.ncol * Eps * exact.s.headOption.getOrElse(0.0)
    val rank = exact.s.count(_ > tiny)
    val signs = (0 until rank).map(j => signOfLargest(exact.u, j))
    def signed(m: Matrix): DenseBlock = {
      val out = new DenseBlock(m.rowSize, rank)
      for (i <- 0 until m.rowSize; j <- 0 until rank) out.setQuick(i, j, m.getQuick(i, j) * signs(j))
      out
    }
    val warnings =
      if (rank < k) Seq(s"The matrix has only $rank of the $k components asked for: the others are zero to rounding.") else Nil
    StochasticSvd(exact.s.take(rank), signed(exact.u), u %*% signed(exact.v), warnings)
  }

  /** The sign of the entry of largest magnitude, the first if there are several. */
  private def signOfLargest(m: DenseBlock, column: Int): Double = {
    val largest = (0 until m.rowSize).maxBy(i => math.abs(m.getQuick(i, column)))
    if (m.getQuick(largest, column) < 0) -1.0 else 1.0
  }
}
