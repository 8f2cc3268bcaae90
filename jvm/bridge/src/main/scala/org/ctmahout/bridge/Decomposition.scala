package org.ctmahout.bridge

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm._
import org.ctmahout.bridge.exchange.CheckedBlock
import org.ctmahout.samsara._
import org.ctmahout.samsara.incore.Products

/** Mahout's decomposition of a group, on a cluster or in a task: the one file of the bridge that knows Mahout's algebra. */
private[bridge] object Decomposition {

  /** Rows of a group as the engine wants them: wrapped, not copied. */
  def block(b: CheckedBlock, columns: Int): (Array[Long], Matrix) = {
    val matrix: Matrix = b.values match {
      case floats: Array[Float] => new FloatBlock(b.rows.length, columns, floats)
      case doubles => new DenseBlock(b.rows.length, columns, doubles.asInstanceOf[Array[Double]])
    }
    (b.rows, matrix)
  }

  def of[K: ClassTag](a: CheckpointedDrm[K], request: Request): Svd[K] = {
    val k = request.k.fold(a.ncol)(_.toInt)
    request.algorithm match {
      case Algorithm.Auto => of(a, request.copy(algorithm = request.choice(a.ncol).algorithm))
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
  def squaredNorm(rows: Long, ofA: Double, svd: Svd[_]): Double = {
    if (!(ofA <= Double.MaxValue))
      throw new ArithmeticException("the squares of the values add up to more than a double can hold, and a manifest has to tell their sum")
    svd.means.fold(ofA)(means => math.max(0.0, ofA - rows * means.map(x => x * x).sum))
  }

  /** One array of rank values for each column of A. */
  def v(svd: Svd[_]): Array[Array[Double]] = Array.tabulate(svd.v.rowSize, svd.rank)((i, j) => svd.v.getQuick(i, j))

  def u[K](svd: Svd[K]): DistributedRows[K] = svd.u.checkpoint(CacheHint.NONE).asInstanceOf[DistributedRows[K]]

  /** Key and values of each row of a block. */
  def rows[K](keyed: (Array[K], Matrix)): Iterator[(K, Array[Double])] = {
    val (numbers, matrix) = keyed
    val block = Products.block(matrix)
    numbers.indices.iterator.map { i =>
      val values = new Array[Double](block.columnSize)
      block.copyRows(i, 1, values)
      (numbers(i), values)
    }
  }

  /** What `write` makes of the rows of U in each partition, and the largest entry of |U'U - I|: the pass that writes U measures it. */
  def written[T](u: DistributedRows[Long])(write: Iterator[(Long, Array[Double])] => T): (Seq[T], Double) = {
    val (gram, results) = u.gramAnd(blocks => write(blocks.flatMap(rows)))
    (results, Svd.distanceToIdentity(gram))
  }
}
