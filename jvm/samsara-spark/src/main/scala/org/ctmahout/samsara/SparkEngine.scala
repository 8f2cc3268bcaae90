package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.math.{DenseVector, Matrix, Vector}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.mahout.math.indexeddataset.{BiDictionary, IndexedDataset, Schema}
import org.apache.spark.storage.StorageLevel
import org.ctmahout.samsara.blocks.{Far, Keys, Near, Passes, Value, VectorBroadcast}
import org.ctmahout.samsara.incore.{Elementwise, Products}
import org.ctmahout.samsara.io.MatrixFiles
import org.ctmahout.samsara.plan.{Joins, Numbering, Plans, Sampling}

/**
 * Mahout's distributed engine for Spark 3.5 and 4.x: turns a plan of Mahout's algebra into passes over blocks of rows.
 *
 * Tall matrices are on the cluster; whatever has as many rows as they have columns is on the driver. Products of the two
 * kinds need no shuffle: A'A and A'B are sums over partitions, A W sends W to all.
 */
object SparkEngine extends DistributedEngine with Serializable {

  private[samsara] def unsupported(what: String): Nothing =
    throw new UnsupportedOperationException(s"$what is not available on this engine")

  private def here(context: DistributedContext): SamsaraContext = context match {
    case samsara: SamsaraContext => samsara
    case other => throw new IllegalArgumentException(s"a ${other.getClass.getName} is not a context of this engine")
  }

  override def toPhysical[K: ClassTag](plan: DrmLike[K], hint: CacheHint): CheckpointedDrm[K] =
    physical(here(plan.context), new Plans(here(plan.context)).value(plan), hint)

  private def physical[K: ClassTag](context: SamsaraContext, value: Value[K], hint: CacheHint): CheckpointedDrm[K] = value match {
    case near: Near => new DriverRows(context, near.matrix, near.m, near.n, hint).asInstanceOf[CheckpointedDrm[K]]
    case Far(rows, m, n, _) =>
      val isProduct = rows.isStored && rows.right.nonEmpty
      val kept =
        if (hint == CacheHint.NONE || rows.isStored && rows.right.isEmpty) rows
        else if (isProduct) {
          // It may never be needed as rows; and one no narrower than its source is cheaper to compute again than to keep.
          if (rows.right.exists(r => r.columnSize >= r.rowSize)) rows else rows.kept(level(hint))
        } else rows.stored(context, level(hint))
      new DistributedRows[K](context, kept, m, n, hint, canHaveMissingRows = false)
  }

  /** Mahout's hints are named like Spark's levels. */
  private[samsara] def level(hint: CacheHint): StorageLevel = StorageLevel.fromString(hint.toString)

  // ------------------------------------------------------------------------------------------------- sums over columns

  private def columnSums[K](drm: CheckpointedDrm[K], f: Double => Double): Vector = drm match {
    case d: DistributedRows[K @unchecked] => new DenseVector(Passes.columnSums(d.blocks, d.ncol)(f), true)
    case d: DriverRows =>
      val sums = new Array[Double](d.ncol)
      Passes.addColumns(d.matrix, f, sums)
      new DenseVector(sums, true)
    case other => foreign(other)
  }
  override def colSums[K](drm: CheckpointedDrm[K]): Vector = columnSums(drm, identity)
  override def colMeans[K](drm: CheckpointedDrm[K]): Vector = colSums(drm).divide(drm.nrow.toDouble)
  override def norm[K](drm: CheckpointedDrm[K]): Double = math.sqrt(columnSums(drm, x => x * x).zSum())
  override def numNonZeroElementsPerColumn[K](drm: CheckpointedDrm[K]): Vector =
    columnSums(drm, x => if (x != 0.0) 1.0 else 0.0)

  /** A with one row subtracted from each of its rows, computed whenever it is used. */
  private[samsara] def less[K](a: CheckpointedDrm[K], row: Array[Double]): CheckpointedDrm[K] = a match {
    case d: DistributedRows[K @unchecked] => d.less(row)
    case d: DriverRows =>
      val rest = Passes.less(d.matrix, row)
      new DriverRows(here(d.context), rest, d.nrow, d.ncol, d.cacheHint).asInstanceOf[CheckpointedDrm[K]]
    case other => unsupported(s"rows less one of a ${other.getClass.getSimpleName}")
  }

  /** A times these numbers, one after the other, computed whenever it is used. */
  private[samsara] def scaled[K](a: CheckpointedDrm[K], factors: Double*): CheckpointedDrm[K] = {
    def f(x: Double) = factors.foldLeft(x)(_ * _)
    a match {
      case d: DistributedRows[K @unchecked] => d.each(f(_))
      case d: DriverRows =>
        val all = Elementwise(d.matrix, f(_))
        new DriverRows(here(d.context), all, d.nrow, d.ncol, d.cacheHint).asInstanceOf[CheckpointedDrm[K]]
      case other => unsupported(s"a multiple of a ${other.getClass.getSimpleName}")
    }
  }

  /** The largest magnitude of a value; NaN if one is NaN. */
  private[samsara] def largest[K](a: CheckpointedDrm[K]): Double = {
    def of(m: Matrix) = Products.block(m).toArray.foldLeft(0.0)((most, x) => math.max(most, math.abs(x)))
    a match {
      case d: DistributedRows[K @unchecked] =>
        d.blocks.fold(_.map(block => of(block._2)).foldLeft(0.0)((x, y) => math.max(x, y))).foldLeft(0.0)((x, y) => math.max(x, y))
      case d: DriverRows => of(d.matrix)
      case other => unsupported(s"the largest value of a ${other.getClass.getSimpleName}")
    }
  }

  // ------------------------------------------------------------------------------------------------ matrices from here

  override def drmBroadcast(m: Matrix)(implicit dc: DistributedContext): BCast[Matrix] =
    here(dc).send[Matrix](Products.dense(m).whole)
  override def drmBroadcast(v: Vector)(implicit dc: DistributedContext): BCast[Vector] =
    new VectorBroadcast(here(dc).send(Array.tabulate(v.size)(v.getQuick)))

  override def drmParallelizeWithRowIndices(m: Matrix, parts: Int)(implicit dc: DistributedContext): CheckpointedDrm[Int] = {
    here(dc).drmOf(here(dc).distributed(m, parts), m.rowSize.toLong, m.columnSize)
  }

  override def drmParallelizeWithRowLabels(m: Matrix, parts: Int)(implicit dc: DistributedContext): CheckpointedDrm[String] = {
    val labels = new Array[String](m.rowSize)
    for (bindings <- Option(m.getRowLabelBindings)) bindings.forEach((label, row) => labels(row) = label)
    require(!labels.contains(null), s"row ${labels.indexOf(null)} has no label: setRowLabelBindings gives some")
    val rows = here(dc).distributed[String](m, parts, (from, count) => labels.slice(from, from + count))
    here(dc).drmOf(rows, m.rowSize.toLong, m.columnSize)
  }

  override def drmParallelizeEmpty(nrow: Int, ncol: Int, parts: Int)(implicit dc: DistributedContext): CheckpointedDrm[Int] =
    empty[Int](nrow.toLong, ncol, parts)
  override def drmParallelizeEmptyLong(nrow: Long, ncol: Int, parts: Int)(implicit
      dc: DistributedContext): CheckpointedDrm[Long] = empty[Long](nrow, ncol, parts)

  /** Zeros, computed when they are read, some rows at a time. */
  private def empty[K](rows: Long, columns: Int, parts: Int)(
      implicit
      dc: DistributedContext, keys: ClassTag[K]): CheckpointedDrm[K] = {
    def first(part: Int) = (BigInt(rows) * part / parts).toLong
    here(dc).drmOf(here(dc).generated(parts)(part => Numbering.zeros(first(part), first(part + 1), columns, keys)), rows, columns)
  }

  // --------------------------------------------------------------------------------------------------- other than algebra

  override def allreduceBlock[K](drm: CheckpointedDrm[K], bmf: BlockMapFunc2[K], rf: BlockReduceFunc): Matrix = drm match {
    case d: DistributedRows[K @unchecked] => Passes.reduced(d.value.rows.evaluated(d.samsara), bmf, rf)
    case d: DriverRows =>
      require(d.nrow > 0, "a matrix without rows cannot be reduced")
      bmf((Array.range(0, d.matrix.rowSize).asInstanceOf[Array[K]], d.collect))
    case other => foreign(other)
  }

  /** Numbers the rows in the order of the partitions; on request with a column of the number of each key. */
  override def drm2IntKeyed[K](drm: DrmLike[K], computeMap: Boolean): (DrmLike[Int], Option[DrmLike[K]]) =
    if (drm.keyClassTag == ClassTag.Int) (drm.asInstanceOf[DrmLike[Int]], None)
    else {
      implicit val keys: ClassTag[K] = drm.keyClassTag
      val context = here(drm.context)
      val far = new Joins(context).far(valueOf(drm))
      val rows = far.rows.evaluated(context)
      val map = if (computeMap) Some(context.drmOf(Numbering.column(rows), far.m, 1)) else None
      (context.drmOf(Numbering(rows, ClassTag.Int)._1, far.m, far.n), map)
    }

  override def drmSampleRows[K](drm: DrmLike[K], fraction: Double, replacement: Boolean): DrmLike[K] = {
    val context = here(drm.context)
    physical(context, new Sampling(context).share(valueOf(drm), fraction, replacement), CacheHint.NONE)(drm.keyClassTag)
  }
  override def drmSampleKRows[K](drm: DrmLike[K], samples: Int, replacement: Boolean): Matrix = {
    val (rows, keys) = new Sampling(here(drm.context)).some(valueOf(drm), samples, replacement)
    if (!Keys.areNumbers(drm.keyClassTag)) rows.setRowLabelBindings(Passes.bindings(keys.zipWithIndex))
    rows
  }

  override def drmDfsRead(path: String, parMin: Int)(implicit dc: DistributedContext): CheckpointedDrm[_] =
    MatrixFiles.read(here(dc), path, parMin)

  override def indexedDatasetDFSRead(source: String, schema: Schema, rowIds: Option[BiDictionary])(implicit
      dc: DistributedContext): IndexedDataset = unsupported("indexedDatasetDFSRead")
  override def indexedDatasetDFSReadElements(source: String, schema: Schema, rowIds: Option[BiDictionary])(implicit
      dc: DistributedContext): IndexedDataset = unsupported("indexedDatasetDFSReadElements")

  private def valueOf[K](drm: DrmLike[K]): Value[K] = new Plans(here(drm.context)).value(drm.checkpoint(CacheHint.NONE))

  private def foreign(drm: CheckpointedDrm[_]): Nothing =
    throw new IllegalArgumentException(s"a ${drm.getClass.getName} is not a matrix of this engine")
}
