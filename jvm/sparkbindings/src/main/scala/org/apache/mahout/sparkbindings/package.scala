package org.apache.mahout

import scala.annotation.unused
import scala.language.implicitConversions
import scala.reflect.ClassTag

import org.apache.mahout.math.{DenseVector, Matrix, SequentialAccessSparseVector, Vector}
import org.apache.mahout.math.drm.{CacheHint, CheckpointedDrm, DistributedContext, DrmLike}
import org.apache.mahout.math.drm.CacheHint.CacheHint
import org.apache.mahout.sparkbindings.io.MahoutKryoRegistrator
import org.apache.spark.{SparkConf, SparkContext}
import org.apache.spark.mllib.linalg.{SparseVector, Vector => MLlibVector}
import org.apache.spark.mllib.regression.LabeledPoint
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.{DataFrame, Row}
import org.ctmahout.samsara.ClusterContext

/** The names that programs for Mahout 14.1 on Spark import, for the engine of `org.ctmahout.samsara`. */
package object sparkbindings {
  type SparkDistributedContext = ClusterContext

  /** A row and its key. */
  type DrmTuple[K] = (K, Vector)
  type DrmRdd[K] = RDD[DrmTuple[K]]
  type BlockifiedDrmRdd[K] = RDD[(Array[K], Matrix)]

  /**
   * Starts Spark, with Kryo for Mahout's vectors and matrices unless `sparkConf` says otherwise. `close` of the context stops it.
   *
   * @param customJars
   *   jars for the executors
   * @param addMahoutJars
   *   whether the jars that these classes come from go to the executors too
   */
  def mahoutSparkContext(masterUrl: String, appName: String, customJars: Iterable[String] = Nil,
      sparkConf: SparkConf = new SparkConf(), addMahoutJars: Boolean = true): SparkDistributedContext = {
    val ours =
      if (!addMahoutJars) Nil
      else Seq(classOf[Vector], classOf[ClusterContext], classOf[MahoutKryoRegistrator]).flatMap(SparkContext.jarOfClass(_))
    val conf = sparkConf.clone().setMaster(masterUrl).setAppName(appName)
      .setIfMissing("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
      .setIfMissing("spark.kryo.registrator", classOf[MahoutKryoRegistrator].getName)
    val listed = conf.get("spark.jars", "").split(',').filter(_.nonEmpty).toSeq
    new ClusterContext(new SparkContext(conf.setJars((listed ++ customJars ++ ours).distinct)), ownsSpark = true)
  }

  private var latest: Option[ClusterContext] = None

  /** The context of a Spark that runs: always the same one. `close` of it does not stop Spark. */
  implicit def sc2sdc(sc: SparkContext): SparkDistributedContext = synchronized {
    latest.filter(_.sparkContext eq sc).getOrElse {
      latest = Some(new ClusterContext(sc))
      latest.get
    }
  }
  implicit def sdc2sc(sdc: SparkDistributedContext): SparkContext = sdc.sparkContext
  implicit def dc2sc(dc: DistributedContext): SparkContext = here(dc).sparkContext

  implicit final class SparkDistributedContextOps(private val sdc: SparkDistributedContext) extends AnyVal {
    def sc: SparkContext = sdc.sparkContext
  }

  implicit final class CheckpointedDrmSparkOps[K](private val drm: DrmLike[K]) extends AnyVal {

    /** The rows, which are dense, wherever they are. */
    def rdd: DrmRdd[K] = here(drm.context).toRows(drm).map { case (key, row) => key -> (new DenseVector(row, true): Vector) }
  }

  private def here(dc: DistributedContext): ClusterContext = dc match {
    case cluster: ClusterContext => cluster
    case other => throw new IllegalArgumentException(s"a ${other.getClass.getName} is not a context of Spark's")
  }

  /**
   * A matrix from rows. Takes a pass that counts them; rows that are not there are zero, whatever `canHaveMissingRows` says.
   *
   * @throws IllegalArgumentException
   *   rows differ in length or from `ncol`; a number is negative, there twice, or not below `nrow`
   */
  def drmWrap[K: ClassTag](rdd: DrmRdd[K], nrow: Long = -1, ncol: Int = -1, cacheHint: CacheHint = CacheHint.NONE,
      @unused canHaveMissingRows: Boolean = false): CheckpointedDrm[K] = sc2sdc(rdd.sparkContext).fromVectors(rdd, nrow, ncol, cacheHint)

  /** A matrix from blocks of rows; see [[drmWrap]]. */
  def drmWrapBlockified[K: ClassTag](blockifiedDrmRdd: BlockifiedDrmRdd[K], nrow: Long = -1, ncol: Int = -1,
      cacheHint: CacheHint = CacheHint.NONE, canHaveMissingRows: Boolean = false): CheckpointedDrm[K] =
    drmWrap(
      blockifiedDrmRdd.flatMap { case (keys, block) => keys.indices.iterator.map(i => keys(i) -> block.viewRow(i)) },
      nrow,
      ncol,
      cacheHint,
      canHaveMissingRows)

  /** A matrix from MLlib's vectors, numbered in their order. */
  def drmWrapMLLibVector(rdd: RDD[MLlibVector], nrow: Long = -1, ncol: Int = -1, cacheHint: CacheHint = CacheHint.NONE,
      @unused canHaveMissingRows: Boolean = false): CheckpointedDrm[Int] =
    numbered(rdd, nrow, ncol, cacheHint)(vector(_, None))

  /** A matrix from MLlib's labelled points, numbered in their order; labels are the last column. */
  def drmWrapMLLibLabeledPoint(rdd: RDD[LabeledPoint], nrow: Long = -1, ncol: Int = -1, cacheHint: CacheHint = CacheHint.NONE,
      @unused canHaveMissingRows: Boolean = false): CheckpointedDrm[Int] =
    numbered(rdd, nrow, ncol, cacheHint)(point => vector(point.features, Some(point.label)))

  /**
   * A matrix from a table of numbers, its rows numbered in their order.
   *
   * @throws SparkException
   *   where something is no number
   */
  def drmWrapDataFrame(df: DataFrame, nrow: Long = -1, ncol: Int = -1, cacheHint: CacheHint = CacheHint.NONE,
      @unused canHaveMissingRows: Boolean = false): CheckpointedDrm[Int] = {
    val names = df.columns
    numbered(df.rdd, nrow, ncol, cacheHint)(row => new DenseVector(Array.tabulate(row.length)(number(row, _, names)), true))
  }

  private def number(row: Row, i: Int, names: Array[String]): Double = row.get(i) match {
    case x: Number => x.doubleValue
    case other => throw new IllegalArgumentException(s"a row has $other in column ${names(i)}, which is no number")
  }

  private def vector(v: MLlibVector, last: Option[Double]): Vector = v match {
    case sparse: SparseVector =>
      val row = new SequentialAccessSparseVector(sparse.size + last.size, sparse.numNonzeros + last.size)
      sparse.foreachActive((i, x) => if (x != 0) row.setQuick(i, x))
      last.filter(_ != 0).foreach(row.setQuick(sparse.size, _))
      row
    case dense => new DenseVector(dense.toArray ++ last, true)
  }

  private def numbered[T](rdd: RDD[T], nrow: Long, ncol: Int, hint: CacheHint)(row: T => Vector): CheckpointedDrm[Int] =
    drmWrap(rdd.zipWithIndex().map { case (x, i) => Math.toIntExact(i) -> row(x) }, nrow, ncol, hint)
}
