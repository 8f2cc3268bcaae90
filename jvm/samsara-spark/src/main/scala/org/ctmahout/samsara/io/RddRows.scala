package org.ctmahout.samsara
package io

import scala.reflect.ClassTag

import org.apache.mahout.math.{Matrix, SparseRowMatrix, Vector}
import org.apache.mahout.math.drm.{CacheHint, CheckpointedDrm}
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.spark.rdd.RDD
import org.ctmahout.samsara.blocks.{BlockHeight, Far, Keys, SparkBlocks}
import org.ctmahout.samsara.incore.Products
import org.ctmahout.samsara.plan.{Numbering, Plans}

/** Matrices from RDDs of rows, each with its key, and the other way round. */
private[samsara] object RddRows {

  /** How rows of one kind become a block. */
  trait Form[R] extends Serializable {
    def width(row: R): Int
    def block(rows: Array[R], columns: Int): Matrix
  }

  object Arrays extends Form[Array[Double]] {
    override def width(row: Array[Double]): Int = row.length
    override def block(rows: Array[Array[Double]], columns: Int): Matrix = new DenseBlock(rows.length, columns, rows.flatten)
  }

  /** Sparse ones stay so, until a pass makes them dense. */
  object Vectors extends Form[Vector] {
    override def width(row: Vector): Int = row.size
    override def block(rows: Array[Vector], columns: Int): Matrix =
      if (rows.exists(!_.isDense)) new SparseRowMatrix(rows.length, columns, rows, true, false)
      else new DenseBlock(rows.length, columns, rows.flatMap(row => Array.tabulate(columns)(row.getQuick)))
  }

  /** The rows of a block. */
  def of[K](keys: Array[K], block: Matrix): Iterator[(K, Array[Double])] = {
    val rows = Products.block(block)
    keys.indices.iterator.map { i =>
      val values = new Array[Double](rows.columnSize)
      rows.copyRows(i, 1, values)
      (keys(i), values)
    }
  }

  /** What the pass finds out. */
  final case class RowStatistics(rows: Long, last: Long, fingerprint: Long, narrowest: Int, widest: Int) {
    def and(that: RowStatistics): RowStatistics = RowStatistics(
      rows + that.rows,
      math.max(last, that.last),
      fingerprint + that.fingerprint,
      math.min(narrowest, that.narrowest),
      math.max(widest, that.widest))
  }

  /**
   * A pass counts the rows.
   *
   * @param nrow
   *   how many rows the matrix has, those that are not there among them; if negative, up to the last number, or as there are
   * @throws IllegalArgumentException
   *   rows differ in length, or are not of `ncol` values if that is not negative; numbers are negative, there twice, or beyond `nrow`
   */
  def matrix[K: ClassTag, R: ClassTag](context: SamsaraContext, rows: RDD[(K, R)], form: Form[R], nrow: Long = -1, ncol: Int = -1,
      parMin: Int = 0, hint: CacheHint = CacheHint.NONE): CheckpointedDrm[K] = {
    val keys = implicitly[ClassTag[K]]
    val areNumbers = Keys.areNumbers(keys)
    val found = rows.map { case (key, row) =>
      val number = if (areNumbers) key.asInstanceOf[Number].longValue else -1
      RowStatistics(1, number, Keys.fingerprint(number), form.width(row), form.width(row))
    }.fold(RowStatistics(0, -1, 0, Int.MaxValue, 0))(_.and(_))
    val n = if (ncol < 0) found.widest else ncol
    if (found.rows > 0) {
      require(found.narrowest == found.widest, s"rows have from ${found.narrowest} to ${found.widest} values")
      require(n == found.widest, s"rows have ${found.widest} values, not $n")
    }
    val m = if (nrow >= 0) nrow else if (areNumbers) found.last + 1 else found.rows
    require(areNumbers || m == found.rows, s"${found.rows} rows are there, not $m")
    val blocks = rows.mapPartitions(_.grouped(BlockHeight.of(n)).map { some =>
      (some.map(_._1).toArray(keys), form.block(some.map(_._2).toArray, n))
    })
    val all = new SparkBlocks(blocks)
    // As many rows as numbers, and the numbers add up: each is there once, and no further pass is needed.
    val isComplete = !areNumbers || found.rows == m && found.fingerprint == Keys.fingerprintBelow(m)
    if (!isComplete) Numbering.requireOnce(all, m, context)
    val read = Far.computed(if (hint == CacheHint.NONE) all else context.store(all, SparkEngine.level(hint)), m, n, keys)
    val wide = if (parMin > 0) new Plans(context).partitioned(read, parMin, -1).asInstanceOf[Far[K]] else read
    new DistributedRows[K](context, wide.rows, m, n, hint, !isComplete)
  }
}
