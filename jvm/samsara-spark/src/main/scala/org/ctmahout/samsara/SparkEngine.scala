package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.math.{DenseVector, Matrix, Vector}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.mahout.math.indexeddataset.{BiDictionary, IndexedDataset, Schema}
import org.apache.spark.storage.StorageLevel

/**
 * Mahout's distributed engine for Spark 3.5 and 4.x: turns a plan of Mahout's algebra into passes over blocks of rows.
 *
 * Tall matrices are on the cluster; whatever has as many rows as they have columns is on the driver. Products of the two
 * kinds need no shuffle: A'A and A'B are sums over partitions, A W sends W to all.
 */
object SparkEngine extends DistributedEngine {

  private[samsara] def unsupported(what: String): Nothing =
    throw new UnsupportedOperationException(s"$what is not available on this engine")

  private def here(context: DistributedContext): SamsaraContext = context match {
    case samsara: SamsaraContext => samsara
    case other => throw new IllegalArgumentException(s"a ${other.getClass.getName} is not a context of this engine")
  }

  override def toPhysical[K: ClassTag](plan: DrmLike[K], hint: CacheHint): CheckpointedDrm[K] = {
    val context = here(plan.context)
    new Plans(context).value(plan) match {
      case near: Near =>
        new DriverRows(context, near.matrix, plan.nrow, plan.ncol, hint).asInstanceOf[CheckpointedDrm[K]]
      case Far(rows, _, _, _) =>
        val isProduct = rows.isStored && rows.right.nonEmpty
        val kept =
          if (hint == CacheHint.NONE || rows.isStored && rows.right.isEmpty) rows
          else if (isProduct) {
            // It may never have to be made; and one no narrower than its source is cheaper to make again than to keep.
            if (rows.right.exists(r => r.columnSize >= r.rowSize)) rows else rows.kept(level(hint))
          } else rows.stored(context, level(hint))
        new DistributedRows[K](context, kept, plan.nrow, plan.ncol, hint)
    }
  }

  /** Mahout's hints are named like Spark's levels. */
  private def level(hint: CacheHint): StorageLevel = StorageLevel.fromString(hint.toString)

  // ------------------------------------------------------------------------------------------------- sums over columns

  private def columnSums[K](drm: CheckpointedDrm[K], f: Double => Double): Vector = drm match {
    case d: DistributedRows[K @unchecked] => new DenseVector(Passes.columnSums(d.blocks, d.ncol)(f), true)
    case d: DriverRows =>
      val sums = new Array[Double](d.ncol)
      Passes.addColumns(d.matrix, f, sums)
      new DenseVector(sums, true)
    case other => unsupported(s"sums over a ${other.getClass.getSimpleName}")
  }
  override def colSums[K](drm: CheckpointedDrm[K]): Vector = columnSums(drm, identity)
  override def colMeans[K](drm: CheckpointedDrm[K]): Vector = colSums(drm).divide(drm.nrow.toDouble)
  override def norm[K](drm: CheckpointedDrm[K]): Double = math.sqrt(columnSums(drm, x => x * x).zSum())
  override def numNonZeroElementsPerColumn[K](drm: CheckpointedDrm[K]): Vector =
    columnSums(drm, x => if (x != 0.0) 1.0 else 0.0)

  // ------------------------------------------------------------------------------------------------ matrices from here

  override def drmBroadcast(m: Matrix)(implicit dc: DistributedContext): BCast[Matrix] =
    here(dc).send[Matrix](Products.dense(m).whole)
  override def drmBroadcast(v: Vector)(implicit dc: DistributedContext): BCast[Vector] =
    new VectorBroadcast(here(dc).send(Array.tabulate(v.size)(v.getQuick)))

  override def drmParallelizeWithRowIndices(m: Matrix, parts: Int)(implicit dc: DistributedContext): CheckpointedDrm[Int] = {
    here(dc).drmOf(here(dc).distributed(m, parts), m.rowSize.toLong, m.columnSize)
  }

  // ------------------------------------------------------------------------------------------------------ not here yet

  override def allreduceBlock[K](drm: CheckpointedDrm[K], bmf: BlockMapFunc2[K], rf: BlockReduceFunc): Matrix =
    unsupported("allreduceBlock")
  override def drmDfsRead(path: String, parMin: Int)(implicit dc: DistributedContext): CheckpointedDrm[_] =
    unsupported("drmDfsRead")
  override def drmParallelizeWithRowLabels(m: Matrix, parts: Int)(implicit dc: DistributedContext): CheckpointedDrm[String] =
    unsupported("drmParallelizeWithRowLabels")
  override def drmParallelizeEmpty(nrow: Int, ncol: Int, parts: Int)(implicit dc: DistributedContext): CheckpointedDrm[Int] =
    unsupported("drmParallelizeEmpty")
  override def drmParallelizeEmptyLong(nrow: Long, ncol: Int, parts: Int)(implicit
      dc: DistributedContext): CheckpointedDrm[Long] = unsupported("drmParallelizeEmptyLong")
  override def drm2IntKeyed[K](drm: DrmLike[K], computeMap: Boolean): (DrmLike[Int], Option[DrmLike[K]]) =
    unsupported("drm2IntKeyed")
  override def drmSampleRows[K](drm: DrmLike[K], fraction: Double, replacement: Boolean): DrmLike[K] =
    unsupported("drmSampleRows")
  override def drmSampleKRows[K](drm: DrmLike[K], samples: Int, replacement: Boolean): Matrix =
    unsupported("drmSampleKRows")
  override def indexedDatasetDFSRead(source: String, schema: Schema, rowIds: Option[BiDictionary])(implicit
      dc: DistributedContext): IndexedDataset = unsupported("indexedDatasetDFSRead")
  override def indexedDatasetDFSReadElements(source: String, schema: Schema, rowIds: Option[BiDictionary])(implicit
      dc: DistributedContext): IndexedDataset = unsupported("indexedDatasetDFSReadElements")
}
