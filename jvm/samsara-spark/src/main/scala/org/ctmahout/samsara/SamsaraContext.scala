package org.ctmahout.samsara

import java.lang.ref.WeakReference

import scala.reflect.ClassTag

import org.apache.mahout.math.{Matrix, Vector}
import org.apache.mahout.math.drm.{BCast, CacheHint, CheckpointedDrm, DistributedContext, DistributedEngine, DrmLike}
import org.apache.spark.SparkContext
import org.apache.spark.broadcast.Broadcast
import org.apache.spark.rdd.RDD
import org.apache.spark.storage.StorageLevel
import org.ctmahout.samsara.blocks.{Blocks, Keys, LazyProduct, LocalBlocks, LocalValue, SparkBlocks, SparkBroadcast, WeakReferences}
import org.ctmahout.samsara.incore.Products
import org.ctmahout.samsara.io.RddRows
import org.ctmahout.samsara.plan.{Joins, Plans}

/**
 * Where the rows of Mahout's matrices are. `close` frees all that computations have stored there.
 *
 * Serializable, as an RDD is, and of as little use in a task: functions defined in spark-shell carry along whatever
 * else their line mentions.
 */
sealed abstract class SamsaraContext extends DistributedContext with Serializable {
  override val engine: DistributedEngine = SparkEngine

  /** What multiplies blocks on this JVM. */
  def blasName: String = Products.blasName

  private[samsara] def store[K](blocks: Blocks[K], level: StorageLevel): Blocks[K]

  /** Whether rows of this many bytes, which can be computed again, may be kept without displacing anything else. */
  private[samsara] def hasRoomForSketch(bytes: Long): Boolean

  /** Keeps such rows and frees those kept before: of several power iterations only the last is used. */
  private[samsara] def keptSketch[K](rows: Blocks[K]): Blocks[K]

  /** Frees one of the stored matrices. What the caller has cached is left alone. */
  private[samsara] def release(blocks: Blocks[_]): Unit

  private[samsara] def send[T: ClassTag](value: T): BCast[T]

  private[samsara] def distribute[K: ClassTag](pieces: Seq[(Array[K], Matrix)], parts: Int): Blocks[K]

  /** Blocks that each partition generates from its number. */
  private[samsara] def generated[K](parts: Int)(f: Int => Iterator[(Array[K], Matrix)]): Blocks[K]

  /** Matrices with more entries than this are never on the driver. */
  private[samsara] def driverEntries: Long

  /** The number of partitions where none is given. */
  private[samsara] def parallelism: Int

  /** A matrix on the driver in about equal pieces, in their order; `keys` gives the keys of a first row and a number of rows. */
  private[samsara] def distributed[K: ClassTag](m: Matrix, parts: Int, keys: (Int, Int) => Array[K]): Blocks[K] = {
    val cuts = (0 to parts).map(i => (i.toLong * m.rowSize / parts).toInt)
    val pieces = cuts.zip(cuts.tail).map { case (from, to) =>
      (keys(from, to - from), Products.copy(m.viewPart(from, to - from, 0, m.columnSize)): Matrix)
    }
    distribute(pieces, parts)
  }
  private[samsara] def distributed(m: Matrix, parts: Int): Blocks[Int] =
    distributed[Int](m, parts, (from, count) => Array.range(from, from + count))

  private[samsara] def drmOf[K: ClassTag](
      blocks: Blocks[K], rows: Long, columns: Int, canHaveMissingRows: Boolean = false): CheckpointedDrm[K] = {
    val base = new LazyProduct(blocks, None, LazyProduct.newTag(), isStored = true)
    new DistributedRows[K](this, base, rows, columns, CacheHint.NONE, canHaveMissingRows)
  }
}

/**
 * A Spark session as Mahout sees it. Works on any SparkContext, with its default serializer, and leaves it unchanged.
 *
 * {{{
 * val samsara = new ClusterContext(sc)
 * try {
 *   val a = samsara.drm(blocks, rows, columns)
 *   val svd = StochasticSvd(a, k = 50, p = 15, q = 1, seed = 0)
 * } finally samsara.close()
 * }}}
 *
 * Results that live on the cluster end with the context.
 *
 * @param driverEntries
 *   matrices with more entries than this stay on the cluster, even if they have as many rows as columns. 512 MB by default
 * @param keepsSketch
 *   whether dssvd may keep A Omega, from which U is made, where executors have twice the memory for it free. A
 *   little slower if U is not wanted
 * @param promisedBytes
 *   memory of executors that is free and will be taken by others, such as a matrix that is persisted and not read yet
 * @param ownsSpark
 *   whether `close` stops Spark, too
 */
final class ClusterContext(
    @transient val sparkContext: SparkContext,
    override private[samsara] val driverEntries: Long = 1L << 26,
    keepsSketch: Boolean = true,
    @transient promisedBytes: () => Long = () => 0L,
    ownsSpark: Boolean = false)
    extends SamsaraContext {
  // Held weakly: what is not used any more is Spark's cleaner's to remove.
  @transient private val stored = new WeakReferences[RDD[_]]
  @transient private val sent = new WeakReferences[Broadcast[_]]
  @transient private var sketch: Option[WeakReference[RDD[_]]] = None

  /**
   * A matrix of Mahout's from blocks of rows.
   *
   * @param blocks
   *   keys and rows, equally many in each block. [[DenseBlock]] and [[FloatBlock]] are used as they are; Mahout's other
   *   matrices are converted one at a time in each pass. Each key occurs once. The caller caches the RDD if it is read more
   *   than once.
   * @param canHaveMissingRows
   *   whether rows that are zero may be left out; keys must be numbers then. Takes a pass over the keys
   */
  def drm[K: ClassTag](
      blocks: RDD[(Array[K], Matrix)], rows: Long, columns: Int, canHaveMissingRows: Boolean = false): CheckpointedDrm[K] = {
    if (canHaveMissingRows) Keys.requireNumbers(implicitly[ClassTag[K]], "a matrix with missing rows")
    drmOf(new SparkBlocks(blocks), rows, columns, canHaveMissingRows)
  }

  /**
   * A matrix from rows, each with its key. Takes a pass that counts them, so the caller first caches what is costly to compute again.
   * Rows that are missing are zero, if keys are numbers.
   *
   * @throws IllegalArgumentException
   *   rows differ in length; a number is negative, or there twice
   */
  def fromRows[K: ClassTag](rows: RDD[(K, Array[Double])]): CheckpointedDrm[K] = RddRows.matrix(this, rows, RddRows.Arrays)

  /**
   * A matrix from rows that are vectors of Mahout's, each with its key; see [[fromRows]]. Blocks of sparse ones are kept as they
   * are, and made dense one at a time in each pass.
   *
   * @param rows
   *   within a task: between tasks, vectors of Mahout's travel by Kryo only
   * @param nrow
   *   how many rows the matrix has; if negative, up to the last number, or as many as are there
   * @param ncol
   *   how many columns, if not negative
   * @param hint
   *   how to keep the rows, if at all
   * @throws IllegalArgumentException
   *   rows differ in length or from `ncol`; a number is negative, there twice, or not below `nrow`
   */
  def fromVectors[K: ClassTag](
      rows: RDD[(K, Vector)], nrow: Long = -1, ncol: Int = -1, hint: CacheHint.CacheHint = CacheHint.NONE): CheckpointedDrm[K] =
    RddRows.matrix(this, rows, RddRows.Vectors, nrow, ncol, hint = hint)

  /** Any matrix as rows, each with its key, for use with Spark directly. They end with the context. */
  def toRows[K](drm: DrmLike[K]): RDD[(K, Array[Double])] =
    rdd(drm).flatMap { case (keys, block) => RddRows.of(keys, block) }

  /** Any matrix as blocks of keys and rows, for use with Spark directly. They end with the context. */
  def rdd[K](drm: DrmLike[K]): RDD[(Array[K], Matrix)] = {
    val value = new Plans(this).value(drm.checkpoint(CacheHint.NONE))
    new Joins(this).far(value).rows.evaluated(this).asInstanceOf[SparkBlocks[K]].rdd
  }

  override private[samsara] def store[K](blocks: Blocks[K], level: StorageLevel): Blocks[K] = synchronized {
    stored.add(rddOf(blocks).persist(level))
    blocks
  }

  override private[samsara] def hasRoomForSketch(bytes: Long): Boolean =
    keepsSketch && (sparkContext.getExecutorMemoryStatus.values.map(_._2).sum - promisedBytes()) / 2 > bytes

  override private[samsara] def keptSketch[K](rows: Blocks[K]): Blocks[K] = synchronized {
    for (reference <- sketch; rdd = reference.get if rdd != null) release(rdd)
    sketch = Some(new WeakReference(rddOf(store(rows, StorageLevel.MEMORY_ONLY))))
    rows
  }

  override private[samsara] def release(blocks: Blocks[_]): Unit = release(rddOf(blocks))

  private def release(rdd: RDD[_]): Unit = synchronized {
    if (stored.remove(rdd)) rdd.unpersist(blocking = false)
    ()
  }

  private def rddOf(blocks: Blocks[_]): RDD[_] = blocks.asInstanceOf[SparkBlocks[_]].rdd

  override private[samsara] def send[T: ClassTag](value: T): BCast[T] = synchronized {
    val b = sparkContext.broadcast(value)
    sent.add(b)
    new SparkBroadcast(b)
  }

  override private[samsara] def distribute[K: ClassTag](pieces: Seq[(Array[K], Matrix)], parts: Int): Blocks[K] = {
    val bytes = pieces.map { case (_, m) => 8L * m.rowSize * m.columnSize }.sum
    if (bytes <= ClusterContext.InTasks) new SparkBlocks(sparkContext.parallelize(pieces, parts))
    else {
      // What is in a task travels in messages of the driver, whose size is limited; a broadcast travels in blocks, on demand.
      val each = pieces.map(send(_))
      new SparkBlocks(sparkContext.parallelize(each, parts).map(_.value))
    }
  }

  override private[samsara] def generated[K](parts: Int)(f: Int => Iterator[(Array[K], Matrix)]): Blocks[K] =
    new SparkBlocks(sparkContext.parallelize(0 until parts, parts).flatMap(f))
  override private[samsara] def parallelism: Int = sparkContext.defaultParallelism

  /** Frees what is stored. Results still in use elsewhere can be computed again where a part of them is lost. */
  def uncache(): Unit = synchronized {
    stored.drain().foreach(_.unpersist(blocking = false))
  }

  override def close(): Unit = synchronized {
    uncache()
    sent.drain().foreach(_.destroy())
    if (ownsSpark) sparkContext.stop()
  }

  /** The number of broadcasts still referred to. */
  private[samsara] def broadcasts: Int = synchronized(sent.size)
}

private object ClusterContext {

  /** Bytes of a matrix that may be in the tasks themselves. */
  private val InTasks = 1L << 20
}

/** This process alone: the same algebra, without Spark, for a matrix that fits in a task of it. */
final class ProcessContext private[samsara] (override private[samsara] val driverEntries: Long) extends SamsaraContext {
  def this() = this(Int.MaxValue.toLong)

  /** A matrix of Mahout's from blocks of rows in this process. */
  def drm[K: ClassTag](blocks: Seq[(Array[K], Matrix)], rows: Long, columns: Int): CheckpointedDrm[K] =
    drmOf(distribute(blocks, 1), rows, columns)

  override private[samsara] def store[K](blocks: Blocks[K], level: StorageLevel): Blocks[K] = {
    lazy val kept = blocks.collect() // when it is first used, as on a cluster
    new LocalBlocks(() => kept.iterator)
  }
  override private[samsara] def hasRoomForSketch(bytes: Long): Boolean = false // computed again in no time
  override private[samsara] def keptSketch[K](rows: Blocks[K]): Blocks[K] = rows
  override private[samsara] def release(blocks: Blocks[_]): Unit = ()
  override private[samsara] def send[T: ClassTag](value: T): BCast[T] = new LocalValue(value)
  override private[samsara] def distribute[K: ClassTag](pieces: Seq[(Array[K], Matrix)], parts: Int): Blocks[K] =
    new LocalBlocks(() => pieces.iterator)
  override private[samsara] def generated[K](parts: Int)(f: Int => Iterator[(Array[K], Matrix)]): Blocks[K] =
    new LocalBlocks(() => Iterator.range(0, parts).flatMap(f))
  override private[samsara] def parallelism: Int = 1
  override def close(): Unit = ()
}
