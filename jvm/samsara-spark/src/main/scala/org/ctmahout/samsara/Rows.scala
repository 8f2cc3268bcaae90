package org.ctmahout.samsara

import java.util.concurrent.atomic.AtomicLong

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.{CacheHint, CheckpointedDrm, DistributedContext}
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.spark.rdd.RDD
import org.apache.spark.storage.StorageLevel

/**
 * Blocks of rows on the cluster, times a small matrix that has not been multiplied in yet: A W is never made if all that is
 * asked of it is A'(A W) or (A W) T = A (W T).
 *
 * @param tag
 *   two of one tag have the same keys in the same order in the same partitions, so they can be zipped
 * @param isStored
 *   whether `base` can be read again without computing it again
 * @param known
 *   of which orthonormal basis these rows are a multiple, and which, if it is known
 * @param level
 *   how the rows are to be kept once they are made
 */
private[samsara] final class RowBlocks[K](
    val base: Blocks[K],
    val right: Option[DenseBlock],
    val tag: Long,
    val isStored: Boolean,
    known: Option[(Basis[K], DenseBlock)] = None,
    level: Option[StorageLevel] = None) {

  def times(m: DenseBlock): RowBlocks[K] =
    new RowBlocks(
      base,
      Some(right.fold(m)(Products.times(_, m))),
      tag,
      isStored,
      known.map { case (basis, t) => (basis, Products.times(t, m)) })

  def knownAs(basis: Basis[K], multiple: DenseBlock): RowBlocks[K] =
    new RowBlocks(base, right, tag, isStored, Some((basis, multiple)), level)

  /** The same, kept when they are made. */
  def kept(level: StorageLevel): RowBlocks[K] = new RowBlocks(base, right, tag, isStored, known, Some(level))

  /** The rows as such, stored. Products are new blocks; of others the values may not last, or be stored already in another way. */
  def stored(context: SamsaraContext, level: StorageLevel): RowBlocks[K] = {
    val rows = if (right.isEmpty) made(context).lasting else made(context)
    new RowBlocks(context.store(rows, level), None, tag, isStored = true)
  }

  private var lastMade: Option[Blocks[K]] = None

  /** The rows as such, the factor multiplied in. */
  def made(context: SamsaraContext): Blocks[K] = lastMade.getOrElse {
    val rows = known match {
      case Some((basis, t)) if basis.isWeak => basis.corrected.times(t).made(context)
      case _ => right.fold(base)(r => Passes.timesRight(base, context.send(r.whole)))
    }
    for (l <- level) lastMade = Some(context.store(rows, l))
    lastMade.getOrElse(rows)
  }

  /** Gives back what is stored of these rows; what they are a product of stays. */
  def release(context: SamsaraContext): Unit = {
    lastMade.foreach(context.release)
    lastMade = None
    if (right.isEmpty) context.release(base)
  }

  private var knownBasis: Option[Basis[K]] = None

  /** An orthonormal basis of these m rows of n columns. */
  def basis(context: SamsaraContext, m: Long, n: Int): Basis[K] = {
    if (knownBasis.isEmpty)
      knownBasis = Some(new Basis(context, plain, m, right.getOrElse(DenseBlock.identity(n))))
    knownBasis.get
  }

  private def plain: RowBlocks[K] = new RowBlocks(base, None, tag, isStored)

  /**
   * The Gram matrix of m rows of n columns.
   *
   * @param forBasis
   *   whether an orthonormal basis of them will be asked for next. Of a product of stored rows its pass gives a Gram matrix
   *   as well, where what is rounding beside the longest column is zero
   */
  def gram(context: SamsaraContext, m: Long, n: Int, forBasis: Boolean): DenseBlock =
    if (forBasis && isStored && right.nonEmpty && known.isEmpty) basis(context, m, n).gram
    else if (isStored && right.isEmpty && known.isEmpty) base.gram(n)
    else Passes.gram(made(context), n)

  /** A' times these rows, where A has n columns and the same rows, and these have w. */
  def crossed(context: SamsaraContext, a: RowBlocks[_], n: Int, w: Int): DenseBlock = known match {
    case Some((basis, t)) if basis.isOf(a) => Products.times(basis.cross, t)
    case Some((basis, _)) if basis.isWeak =>
      Passes.cross(a.made(context), made(context), n, w)
    case _ =>
      // A'(Y T) = (A'Y) T: the factor is multiplied in once, on the driver.
      val c = Passes.cross(a.made(context), base, n, right.fold(w)(_.rowSize))
      right.fold(c)(Products.times(c, _))
  }
}

private[samsara] object RowBlocks {
  private val tags = new AtomicLong(1)
  def newTag(): Long = tags.getAndIncrement()
}

/**
 * A matrix whose rows are on the cluster.
 *
 * @param canHaveMissingRows
 *   whether rows that are zero may be left out
 */
final class DistributedRows[K: ClassTag] private[samsara] (
    private[samsara] val samsara: SamsaraContext,
    @transient private[samsara] val rows: RowBlocks[K],
    override val nrow: Long,
    override val ncol: Int,
    override val cacheHint: CacheHint,
    override val canHaveMissingRows: Boolean)
    extends CheckpointedDrm[K]
    with Serializable {

  private[samsara] def blocks: Blocks[K] = rows.made(samsara)

  /** As an operand: with rows that are zero where there were none. */
  @transient private[samsara] lazy val value: Far[K] =
    if (!canHaveMissingRows) Far(rows, nrow, ncol, keyClassTag)
    else {
      val all = Numbering.completed(blocks, nrow, ncol, keyClassTag, samsara)
      Far(new RowBlocks(all, None, RowBlocks.newTag(), rows.isStored), nrow, ncol, keyClassTag)
    }

  /** The blocks, for whoever goes on with Spark from here. They end with the context. */
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
  private[samsara] def less(row: Array[Double]): CheckpointedDrm[K] = samsara.drmOf(Passes.less(value.rows.made(samsara), row), nrow, ncol)

  /** A function of each value, whenever this matrix is used. */
  private[samsara] def each(f: Double => Double): CheckpointedDrm[K] =
    samsara.drmOf(value.rows.made(samsara).map { case (keys, m) => (keys, Elementwise(m, f): Matrix) }, nrow, ncol)

  /** See [[MatrixFiles]]. */
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
