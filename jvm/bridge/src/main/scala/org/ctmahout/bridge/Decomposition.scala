package org.ctmahout.bridge

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara._

/** Mahout's decomposition of a group, on a cluster or in a task: the one file of the bridge that knows Mahout's algebra. */
private[bridge] object Decomposition {

  /** Rows of a group as the engine wants them: wrapped, not copied. */
  def block(b: RowBlock, columns: Int): (Array[Long], Matrix) = {
    val matrix: Matrix = b.values match {
      case floats: Array[Float] => new FloatBlock(b.rows.length, columns, floats)
      case doubles => new DenseBlock(b.rows.length, columns, doubles.asInstanceOf[Array[Double]])
    }
    (b.rows, matrix)
  }

  def of(a: CheckpointedDrm[Long], request: Request): Svd[Long] = {
    val k = request.k.fold(a.ncol)(_.toInt)
    request.algorithm match {
      case Algorithm.Dssvd => StochasticSvd(a, k, request.p, request.q, request.seed)
      case Algorithm.Exact => ExactSvd(a, k, request.seed)
      case Algorithm.Dspca => StochasticSvd.centred(a, k, request.p, request.q, request.seed)
    }
  }

  /**
   * |A|^2 of the matrix that was decomposed: of A, or of A less the means of its columns.
   *
   * @throws ArithmeticException
   *   it is beyond the range of doubles
   */
  def squaredNorm(a: CheckpointedDrm[Long], ofA: Double, request: Request): Double = {
    if (!(ofA <= Double.MaxValue))
      throw new ArithmeticException("the squares of the values add up to more than a double can hold, and a manifest has to tell their sum")
    if (request.algorithm.isCentred) {
      val means = a.colMeans()
      math.max(0.0, ofA - a.nrow * means.dot(means))
    } else ofA
  }

  /** One array of rank values for each column of A. */
  def v(svd: Svd[Long]): Array[Array[Double]] = Array.tabulate(svd.v.rowSize, svd.rank)((i, j) => svd.v.getQuick(i, j))

  def u(svd: Svd[Long], hint: CacheHint.CacheHint): DistributedRows[Long] =
    svd.u.checkpoint(hint).asInstanceOf[DistributedRows[Long]]

  /** Number and values of each row of a block. */
  def rows(keyed: (Array[Long], Matrix)): Iterator[(Long, Array[Double])] = {
    val (numbers, matrix) = keyed
    val block = Products.block(matrix)
    numbers.indices.iterator.map { i =>
      val values = new Array[Double](block.columnSize)
      block.copyRows(i, 1, values)
      (numbers(i), values)
    }
  }

  /** The largest entry of |U'U - I|. */
  def orthogonality(u: DrmLike[Long]): Double = if (u.ncol == 0) 0.0 else Svd.distanceToIdentity((u.t %*% u).collect)
}
