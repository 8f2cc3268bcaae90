package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.{CacheHint, CheckpointedDrm, DistributedContext}
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.spark.rdd.RDD
import org.ctmahout.samsara.blocks.{Blocks, Far, Keys, LazyProduct, LocalBlocks, Passes, Repeated, SparkBlocks}
import org.ctmahout.samsara.incore.Elementwise
import org.ctmahout.samsara.io.MatrixFiles
import org.ctmahout.samsara.plan.Numbering

/**
 * A matrix whose rows are on the cluster.
 *
 * @param canHaveMissingRows
 *   whether rows that are zero may be left out
 */
final class DistributedRows[K: ClassTag] private[samsara] (
    private[samsara] val samsara: SamsaraContext,
    @transient private[samsara] val rows: LazyProduct[K],
    override val nrow: Long,
    override val ncol: Int,
    override val cacheHint: CacheHint,
    override val canHaveMissingRows: Boolean)
    extends CheckpointedDrm[K]
    with Serializable {

  private[samsara] def blocks: Blocks[K] = rows.evaluated(samsara)

  /** As an operand: with rows that are zero where there were none. */
  @transient private[samsara] lazy val value: Far[K] =
    if (!canHaveMissingRows) Far(rows, nrow, ncol, keyClassTag)
    else {
      val all = Numbering.completed(blocks, nrow, ncol, keyClassTag, samsara)
      Far(new LazyProduct(all, None, LazyProduct.newTag(), rows.isStored), nrow, ncol, keyClassTag)
    }

  /** The blocks, for use with Spark directly. They end with the context. */
  def rdd: RDD[(Array[K], Matrix)] = blocks match {
    case cluster: SparkBlocks[K] => cluster.rdd
    case _ => SparkEngine.unsupported("an RDD of a matrix in one process")
  }

  /** The blocks of a matrix in this process. */
  def here: Iterator[(Array[K], Matrix)] = blocks match {
    case local: LocalBlocks[K] => local.iterator
    case _ => SparkEngine.unsupported("an iterator over a matrix on a cluster")
  }

  /**
   * A'A, and what `f` makes of the blocks of each partition, all of which it has to ask for: one pass for both, where rows are
   * written and something is to be said of them.
   */
  def gramAnd[T](f: Iterator[(Array[K], Matrix)] => T): (Matrix, Seq[T]) = Passes.gramAnd(blocks, ncol)(f)

  override def partitioningTag: Long = rows.tag
  override val context: DistributedContext = samsara
  override def keyClassTag: ClassTag[K] = implicitly[ClassTag[K]]
  override def checkpoint(hint: CacheHint): CheckpointedDrm[K] =
    if (hint == CacheHint.NONE || rows.isStored) this
    else {
      if (checkpointed.isEmpty) checkpointed = Some(SparkEngine.toPhysical(this, hint))
      checkpointed.get
    }
  @transient private var checkpointed: Option[CheckpointedDrm[K]] = None

  /** All of it on the driver: by row number if the keys are numbers, else in the order of the partitions, with labels. */
  override def collect: Matrix = {
    val (all, labels) = Passes.gathered(blocks, nrow, ncol, Repeated.Overwritten)
    if (labels.nonEmpty) all.setRowLabelBindings(Passes.bindings(labels))
    all
  }

  /** This matrix, which is not changed, less one and the same row, whenever it is used; rows left out are less it, too. */
  private[samsara] def less(row: Array[Double]): CheckpointedDrm[K] =
    samsara.drmOf(Passes.less(value.rows.evaluated(samsara), row), nrow, ncol)

  /** A function of each value, whenever this matrix is used. */
  private[samsara] def each(f: Double => Double): CheckpointedDrm[K] =
    samsara.drmOf(value.rows.evaluated(samsara).map { case (keys, m) => (keys, Elementwise(m, f): Matrix) }, nrow, ncol)

  /** Text where the path ends in `.txt`, else Parquet; on any file system that Spark reaches. */
  override def dfsWrite(path: String): Unit = MatrixFiles.write(samsara, value, path)
  override def uncache(): this.type = { rows.release(samsara); this }

  /**
   * The same rows, and zeros up to `n`.
   *
   * @throws IllegalArgumentException
   *   rows would have to be left out
   * @throws UnsupportedOperationException
   *   rows would have to be added that have no label
   */
  override def newRowCardinality(n: Int): CheckpointedDrm[K] = {
    require(n >= nrow, s"$n rows for a matrix that has $nrow")
    if (n > nrow) Keys.requireNumbers(keyClassTag, "rows of zeros")
    new DistributedRows[K](samsara, rows, n.toLong, ncol, cacheHint, canHaveMissingRows || n > nrow)
  }
}
