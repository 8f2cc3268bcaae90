package org.ctmahout.samsara

import java.util.concurrent.atomic.AtomicLong

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.{CheckpointedDrm, DistributedContext}
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.spark.rdd.RDD
import org.apache.spark.storage.StorageLevel

/**
 * Blocks of rows on the cluster, times a small matrix that has not been multiplied in yet: Y T is never made if all that
 * is asked of it is A'(Y T) = (A'Y) T or (Y T) W = Y (T W).
 *
 * @param tag
 *   two of one tag have the same keys in the same order in the same partitions, so they can be zipped
 * @param isStored
 *   whether `base` can be read again without computing it again
 * @param origin
 *   the product of which `base` is the stored result
 */
private[samsara] final class RowBlocks[K](
    val base: Blocks[K],
    val right: Option[DenseBlock],
    val tag: Long,
    val isStored: Boolean,
    origin: Option[RowBlocks[K]] = None) {

  def times(m: DenseBlock): RowBlocks[K] =
    new RowBlocks(base, Some(right.fold(m)(Products.times(_, m))), tag, isStored)

  /** The product A W that these rows are, as (A, W), if A can be read again. */
  def product: Option[(RowBlocks[K], DenseBlock)] =
    origin.getOrElse(this) match {
      case p if p.isStored => p.right.map(w => (new RowBlocks(p.base, None, p.tag, isStored = true), w))
      case _ => None
    }

  def stored(context: SamsaraContext, level: StorageLevel): RowBlocks[K] =
    new RowBlocks(context.store(made(context), level), None, tag, isStored = true, origin = Some(this))

  /** The rows as such, the factor multiplied in. */
  def made(context: SamsaraContext): Blocks[K] =
    right.fold(base)(r => Passes.timesRight(base, context.send(r.whole)))

  private var knownGram: Option[DenseBlock] = None

  /** The Gram matrix of n columns; one pass, however often it is asked for. Not to be changed. */
  def gram(context: SamsaraContext, n: Int): DenseBlock = {
    if (knownGram.isEmpty) knownGram = Some(Passes.gram(made(context), n))
    knownGram.get
  }
}

private[samsara] object RowBlocks {
  private val tags = new AtomicLong(1)
  def newTag(): Long = tags.getAndIncrement()
}

/** A matrix whose rows are on the cluster. */
final class DistributedRows[K: ClassTag] private[samsara] (
    private[samsara] val samsara: SamsaraContext,
    private[samsara] val rows: RowBlocks[K],
    override val nrow: Long,
    override val ncol: Int,
    override val cacheHint: CacheHint)
    extends CheckpointedDrm[K] {

  private[samsara] def blocks: Blocks[K] = rows.made(samsara)

  /** The blocks, for whoever goes on with Spark from here. They end with the context. */
  def rdd: RDD[(Array[K], Matrix)] = blocks match {
    case cluster: SparkBlocks[K] => cluster.rdd
    case _ => SparkEngine.unsupported("an RDD of a matrix in one process")
  }

  override def partitioningTag: Long = rows.tag
  override def canHaveMissingRows: Boolean = false
  override val context: DistributedContext = samsara
  override def keyClassTag: ClassTag[K] = implicitly[ClassTag[K]]
  override def checkpoint(hint: CacheHint): CheckpointedDrm[K] = this

  /** All of it on the driver: by row number if the keys are numbers, else in the order of the partitions. */
  override def collect: Matrix = {
    val all = new DenseBlock(Math.toIntExact(nrow), ncol)
    var next = 0
    for ((keys, m) <- blocks.collect(); block = Products.dense(m).whole; i <- keys.indices) {
      val row = keys(i) match {
        case number: Int => number
        case number: Long => Math.toIntExact(number)
        case _ => next
      }
      System.arraycopy(block.data, i * ncol, all.data, row * ncol, ncol)
      next += 1
    }
    all
  }

  override def dfsWrite(path: String): Unit = SparkEngine.unsupported("dfsWrite")
  override def uncache(): this.type = { samsara.release(rows.base); this }
  override def newRowCardinality(n: Int): CheckpointedDrm[K] =
    new DistributedRows[K](samsara, rows, n.toLong, ncol, cacheHint)
}

/** A matrix small enough for the driver, its keys the row numbers. Computed when first asked for. */
final class DriverRows private[samsara] (
    samsara: SamsaraContext,
    compute: => DenseBlock,
    override val nrow: Long,
    override val ncol: Int,
    override val cacheHint: CacheHint)
    extends CheckpointedDrm[Int] {

  private[samsara] lazy val matrix: DenseBlock = compute

  override def partitioningTag: Long = 0L
  override def canHaveMissingRows: Boolean = false
  override val context: DistributedContext = samsara
  override def keyClassTag: ClassTag[Int] = ClassTag.Int
  override def checkpoint(hint: CacheHint): CheckpointedDrm[Int] = this
  override def collect: Matrix = matrix.clone()
  override def dfsWrite(path: String): Unit = SparkEngine.unsupported("dfsWrite")
  override def uncache(): this.type = this
  override def newRowCardinality(n: Int): CheckpointedDrm[Int] =
    new DriverRows(samsara, matrix, n.toLong, ncol, cacheHint)
}
