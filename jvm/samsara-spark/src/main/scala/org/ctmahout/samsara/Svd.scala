package org.ctmahout.samsara

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.DrmLike
import org.ctmahout.samsara.incore.{NotFinite, Products}

/**
 * A ~ U diag(s) V'.
 *
 * @param s
 *   singular values, descending, of the rank found
 * @param v
 *   n x rank, orthonormal columns; in each the entry of largest magnitude is positive
 * @param warnings
 *   what the caller should know
 * @param means
 *   means of A's columns, if they were subtracted before the decomposition
 */
final class Svd[K] private[samsara] (
    val s: Array[Double],
    val v: DenseBlock,
    val warnings: Seq[String],
    makeU: => DrmLike[K],
    val means: Option[Array[Double]] = None) {

  /** m x rank, computed when it is used. */
  lazy val u: DrmLike[K] = makeU

  /** The decomposition of a multiple of A. */
  private[samsara] def times(factors: Double*): Svd[K] = {
    def multiplied(x: Double) = factors.foldLeft(x)(_ * _)
    val scaled = s.map(multiplied)
    if (!scaled.forall(_ <= Double.MaxValue)) throw new NotFinite("the matrix has singular values beyond the range of doubles")
    new Svd(scaled, v, warnings, u, means.map(_.map(multiplied)))
  }

  /** The same, marked as that of A less these means. */
  private[samsara] def less(means: Array[Double]): Svd[K] = new Svd(s, v, warnings, u, Some(means))

  def rank: Int = s.length

  /** The largest entry of |V'V - I|. */
  def orthogonality: Double = Svd.distanceToIdentity(Products.transposedTimes(v, v))
}

object Svd {
  private val Eps = math.ulp(1.0)

  /** The largest entry of |G - I|; NaN if an entry is NaN. */
  def distanceToIdentity(gram: Matrix): Double = {
    val errors = for (i <- 0 until gram.rowSize; j <- 0 until gram.columnSize)
      yield math.abs(gram.getQuick(i, j) - (if (i == j) 1.0 else 0.0))
    errors.foldLeft(0.0)((a, b) => math.max(a, b))
  }

  private[samsara] def checkRank(k: Int, rows: Long, columns: Int): Unit =
    require(k >= 1 && k <= math.min(rows, columns.toLong), s"k = $k for a matrix of $rows x $columns")

  /** Singular values below have squares that are no longer normal numbers. */
  private val Smallest = 1e-150

  /** How many of the first k singular values exceed rounding, for a matrix with so many columns, and `negligible`. */
  private[samsara] def rankOf(s: Array[Double], k: Int, columns: Int, negligible: Double): Int = {
    val tiny = Seq(Smallest, negligible, columns * Eps * s.headOption.getOrElse(0.0)).max
    s.take(k).count(_ > tiny)
  }

  private[samsara] def warnings(rank: Int, k: Int): Seq[String] =
    if (rank < k) Seq(s"The matrix has only $rank of the $k components asked for: the others are zero to rounding.") else Nil

  /** The sign for each of the first columns that makes its entry of largest magnitude positive; of several, the first. */
  private[samsara] def signs(m: Matrix, columns: Int): Array[Double] = Array.tabulate(columns) { j =>
    val largest = (0 until m.rowSize).maxBy(i => math.abs(m.getQuick(i, j)))
    if (m.getQuick(largest, j) < 0) -1.0 else 1.0
  }

  /** The first columns, each times its factor. */
  private[samsara] def scaled(m: Matrix, factors: Array[Double]): DenseBlock = {
    val out = new DenseBlock(m.rowSize, factors.length)
    for (i <- 0 until m.rowSize; j <- factors.indices) out.setQuick(i, j, m.getQuick(i, j) * factors(j))
    out
  }
}
