package org.ctmahout.bridge

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.spark.rdd.RDD
import org.ctmahout.samsara._

/**
 * A is about U diag(s) V'. U is on the cluster, computed when it is used, until `release`.
 *
 * @param v
 *   one array of rank values for each column of A
 */
private[bridge] final class Factors(
    val s: Array[Double],
    val v: Array[Array[Double]],
    val orthogonalityV: Double,
    val warnings: Seq[String],
    makeU: => TallFactor,
    val release: () => Unit) {
  lazy val u: TallFactor = makeU
}

/** U: number and values of each row, and the largest entry of |U'U - I|. */
private[bridge] final case class TallFactor(rows: RDD[(Long, Array[Double])], orthogonality: Double)

/** Mahout's decomposition of a group: the one file of the bridge that knows Mahout. */
private[bridge] object Decomposition {

  def of(cached: CachedGroup, k: Int, p: Int, q: Int, seed: Long): Factors = {
    val group = cached.group
    val columns = group.columns
    val blocks = cached.blocks.map { b =>
      // Wrapped, not copied: the store keeps the arrays, and the engine computes on them where they are.
      val matrix: Matrix = b.values match {
        case floats: Array[Float] => new FloatBlock(b.rows.length, columns, floats)
        case doubles => new DenseBlock(b.rows.length, columns, doubles.asInstanceOf[Array[Double]])
      }
      (b.rows, matrix)
    }
    val samsara = new ClusterContext(blocks.sparkContext)
    try {
      val svd = StochasticSvd(samsara.drm[Long](blocks, group.rows, columns), k, p, q, seed)
      val v = Array.tabulate(columns, svd.rank)((i, j) => svd.v.getQuick(i, j))
      new Factors(svd.s, v, svd.orthogonality, svd.warnings, tall(svd.u, svd.rank), () => samsara.close())
    } catch {
      case e: Throwable =>
        samsara.close()
        throw e
    }
  }

  private def tall(lazily: DrmLike[Long], rank: Int): TallFactor = {
    val u = lazily.checkpoint(CacheHint.NONE)
    val rows = u.asInstanceOf[DistributedRows[Long]].rdd.flatMap { case (numbers, matrix) =>
      val block = Products.block(matrix)
      numbers.indices.iterator.map { i =>
        val values = new Array[Double](rank)
        block.copyRows(i, 1, values)
        (numbers(i), values)
      }
    }
    TallFactor(rows, if (rank == 0) 0.0 else distanceToIdentity((u.t %*% u).collect))
  }

  private def distanceToIdentity(gram: Matrix): Double = {
    val errors = for (i <- 0 until gram.rowSize; j <- 0 until gram.columnSize)
      yield math.abs(gram.getQuick(i, j) - (if (i == j) 1.0 else 0.0))
    errors.max
  }
}
