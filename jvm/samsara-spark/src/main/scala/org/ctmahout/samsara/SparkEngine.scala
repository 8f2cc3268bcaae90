package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.math.{DenseVector, Matrix, Vector}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.mahout.math.drm.logical._
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

  /** What a plan comes to: rows on the cluster, or a matrix on the driver that is computed when it is needed. */
  private sealed trait Value[K]
  private final case class Far[K](rows: RowBlocks[K]) extends Value[K]
  private final case class Near[K](matrix: () => DenseBlock) extends Value[K]

  override def toPhysical[K: ClassTag](plan: DrmLike[K], hint: CacheHint): CheckpointedDrm[K] = {
    val context = here(plan.context)
    eval(plan) match {
      case Near(matrix) => new DriverRows(context, matrix(), plan.nrow, plan.ncol, hint).asInstanceOf[CheckpointedDrm[K]]
      case Far(rows) =>
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

  private def eval[K](plan: DrmLike[K]): Value[K] = {
    def as(value: Value[Int]): Value[K] = value.asInstanceOf[Value[K]] // A'... and driver matrices are keyed by number
    plan match {
      case d: DistributedRows[K @unchecked] => Far(d.rows)
      case d: DriverRows => as(Near(() => d.matrix))
      case OpAtA(a) => as(gram(here(plan.context), eval(a), a.ncol))
      case OpAtB(a, b) => as(cross(here(plan.context), eval(a), eval(b), a.ncol, b.ncol))
      case OpAtx(a, x) => as(timesVector(here(plan.context), eval(a), column(x), a.ncol))
      case OpAx(OpAtAnyKey(a), x) => as(timesVector(here(plan.context), eval(a), column(x), a.ncol))
      case OpAx(a, x) => timesRight(eval(a).asInstanceOf[Value[K]], () => column(x))
      case OpTimesRightMatrix(a, right) => timesRight(eval(a).asInstanceOf[Value[K]], () => Products.dense(right))
      case OpABt(a, OpAt(b)) => timesRight(eval(a).asInstanceOf[Value[K]], near(eval(b), plan))
      case OpABt(a, b) =>
        val right = near(eval(b), plan)
        timesRight(eval(a).asInstanceOf[Value[K]], () => Products.transposed(right()))
      case OpAB(a, b) => timesRight(eval(a).asInstanceOf[Value[K]], near(eval(b), plan))
      case OpAt(a) =>
        val matrix = near(eval(a), plan)
        as(Near(() => Products.transposed(matrix())))
      case op: OpMapBlock[_, _] => mapBlock(op.asInstanceOf[OpMapBlock[Any, K]])
      case OpAewUnaryFunc(a, f, _) => elementwise(a, f, plan)
      case OpAewUnaryFuncFusion(a, ops) =>
        val fs = ops.map(_.f)
        elementwise(a, x => fs.foldLeft(x)((y, f) => f(y)), plan)
      case other => unsupported(other.getClass.getSimpleName)
    }
  }

  private def column(x: Vector): DenseBlock = new DenseBlock(x.size, 1, Array.tabulate(x.size)(x.getQuick))

  private def near(value: Value[_], plan: DrmLike[_]): () => DenseBlock = value match {
    case Near(matrix) => matrix
    case Far(_) => unsupported(s"${plan.getClass.getSimpleName} of two distributed matrices")
  }

  private def timesRight[K](a: Value[K], right: () => DenseBlock): Value[K] = a match {
    case Far(rows) => Far(rows.times(right()))
    case Near(matrix) => Near(() => Products.times(matrix(), right()))
  }

  private def gram[K](context: SamsaraContext, a: Value[K], n: Int): Value[Int] = a match {
    case Near(matrix) =>
      Near { () =>
        val gram = new Products.Gram(n)
        gram.add(matrix())
        GramMatrix.positiveSemidefinite(new DenseBlock(n, n, gram.sum))
      }
    case Far(rows) =>
      Near { () =>
        val gram = rows.gram(context, n)
        // Of a product it is dqrThin that asks, and dssvd has it refuse what is no basis; ours is one in any case.
        if (rows.right.nonEmpty) GramMatrix.positiveDefinite(gram) else gram
      }
  }

  private def cross[A, B](context: SamsaraContext, a: Value[A], b: Value[B], n: Int, w: Int): Value[Int] = (a, b) match {
    case (Near(x), Near(y)) =>
      Near { () =>
        val cross = new Products.Cross(n, w)
        cross.add(x(), y())
        new DenseBlock(n, w, cross.sum)
      }
    case (Far(x), Far(y)) =>
      if (x.tag != y.tag) unsupported("A'B of two matrices that are partitioned differently")
      Near(() => y.crossed(context, x, n, w))
    case _ => unsupported("A'B of a distributed matrix and one on the driver")
  }

  /** A'x: x is as tall as A, its entries belong to the rows of these numbers. */
  private def timesVector[K](context: SamsaraContext, a: Value[K], x: DenseBlock, n: Int): Value[Int] = a match {
    case Near(_) => cross(context, a, Near[Int](() => x), n, 1)
    case Far(rows) => Near(() => Passes.crossVector(rows.made(context), context.send(x.data), n))
  }

  private def mapBlock[S, R](op: OpMapBlock[S, R]): Value[R] = {
    val context = here(op.context)
    eval(op.A) match {
      case Near(matrix) =>
        Near { () =>
          val m = matrix().clone() // the function may change what it gets
          Products.dense(op.bmf((Array.range(0, m.rowSize).asInstanceOf[Array[S]], m))._2)
        }
      case Far(rows) =>
        Closures.meaning(op.bmf) match {
          case Closures.TriangularSolve =>
            Far(rows.basis(context, op.A.ncol).rows.asInstanceOf[RowBlocks[R]]) // dqrThin keeps the keys
          case Closures.Sketch if rows.isStored =>
            Far(rows.times(Closures.factor(op.bmf, op.A.keyClassTag, op.A.ncol)).asInstanceOf[RowBlocks[R]])
          case _ =>
            val tag = if (op.identicallyPartitioned) rows.tag else RowBlocks.newTag()
            val stored = rows.isStored && rows.right.isEmpty
            Far(new RowBlocks(Passes.map(rows.made(context), op.bmf, keep = stored), None, tag, isStored = false))
        }
    }
  }

  private def elementwise[K](a: DrmLike[_], f: Double => Double, plan: DrmLike[K]): Value[K] =
    mapBlock(
      new OpMapBlock[K, K](a.asInstanceOf[DrmLike[K]], Elementwise(f), identicallyPartitioned = true)(plan.keyClassTag))

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

  /** A less one and the same row, whenever it is used. */
  private[samsara] def less[K](a: CheckpointedDrm[K], row: Array[Double]): CheckpointedDrm[K] = a match {
    case d: DistributedRows[K @unchecked] => d.less(row)
    case d: DriverRows =>
      val rest = Passes.less(d.matrix, row)
      new DriverRows(here(d.context), rest, d.nrow, d.ncol, d.cacheHint).asInstanceOf[CheckpointedDrm[K]]
    case other => unsupported(s"rows less one of a ${other.getClass.getSimpleName}")
  }

  // ------------------------------------------------------------------------------------------------ matrices from here

  override def drmBroadcast(m: Matrix)(implicit dc: DistributedContext): BCast[Matrix] =
    here(dc).send[Matrix](Products.dense(m).whole)
  override def drmBroadcast(v: Vector)(implicit dc: DistributedContext): BCast[Vector] =
    new VectorBroadcast(here(dc).send(Array.tabulate(v.size)(v.getQuick)))

  override def drmParallelizeWithRowIndices(m: Matrix, parts: Int)(implicit dc: DistributedContext): CheckpointedDrm[Int] = {
    val all = Products.dense(m)
    val cuts = (0 to parts).map(i => (i.toLong * all.rowSize / parts).toInt)
    val pieces = cuts.zip(cuts.tail).map { case (from, to) =>
      val piece = new DenseBlock(to - from, all.columnSize)
      all.copyRows(from, to - from, piece.data)
      (Array.range(from, to), piece: Matrix)
    }
    here(dc).drmOf(here(dc).distribute(pieces, parts), all.rowSize.toLong, all.columnSize)
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
