package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.{CheckpointedDrm, DistributedContext}
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.ctmahout.samsara.blocks.Near
import org.ctmahout.samsara.io.MatrixFiles

/** A matrix small enough for the driver, its keys the row numbers. Computed when first asked for. */
final class DriverRows private[samsara] (
    samsara: SamsaraContext,
    @transient compute: => DenseBlock,
    override val nrow: Long,
    override val ncol: Int,
    override val cacheHint: CacheHint)
    extends CheckpointedDrm[Int]
    with Serializable {

  @transient private[samsara] lazy val matrix: DenseBlock = compute

  override def partitioningTag: Long = 0L
  override def canHaveMissingRows: Boolean = false
  override val context: DistributedContext = samsara
  override def keyClassTag: ClassTag[Int] = ClassTag.Int
  override def checkpoint(hint: CacheHint): CheckpointedDrm[Int] = this
  override def collect: Matrix = matrix.clone()
  override def dfsWrite(path: String): Unit = MatrixFiles.write(samsara, new Near(nrow, ncol, matrix), path)
  override def uncache(): this.type = this

  /**
   * The same rows, and zeros up to `n`.
   *
   * @throws IllegalArgumentException
   *   rows would have to be left out
   */
  override def newRowCardinality(n: Int): CheckpointedDrm[Int] = {
    require(n >= nrow, s"$n rows for a matrix that has $nrow")
    val taller = java.util.Arrays.copyOf(matrix.toArray, Math.multiplyExact(n, ncol))
    new DriverRows(samsara, new DenseBlock(n, ncol, taller), n.toLong, ncol, cacheHint)
  }
}
