package org.ctmahout.bridge
package exchange

import scala.util.control.NonFatal

import org.apache.hadoop.fs.FileSystem
import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.SparkSession
import org.ctmahout.bridge.SparkInternals.InternalRow

/**
 * Reads the groups of a matrix directory and refuses whatever contract/v1 says must be refused.
 *
 * @param session
 *   a session of our own, since settings of SQL decide how Parquet is read (see [[ReadingSession]])
 * @param memory
 *   bytes that Spark has to keep data in
 */
private[bridge] final class ExchangeReader(
    session: SparkSession,
    fs: FileSystem,
    val manifest: MatrixManifest,
    memory: Long) {
  import ExchangeReader._

  def this(session: SparkSession, fs: FileSystem, manifest: MatrixManifest) =
    this(session, fs, manifest, ExchangeReader.storageMemory(session.sparkContext))

  val path: String = Manifest.shown(manifest.path)

  private lazy val index = {
    val sc = session.sparkContext
    val names = PartFiles.names(fs, manifest)
    new PartIndex(PartFiles.footers(sc, manifest.path, names, manifest.dtype, ReadingSession.hadoop(session)))
  }

  private lazy val read = PartReader(session, manifest.dtype)

  /**
   * How many of some groups may be decomposed at a time: as many as are kept in memory together, and their Gram matrices in a
   * part of this JVM's heap; at least one.
   */
  def fitting(groups: Seq[MatrixGroup], most: Int): Int = {
    val room = CachedGroup.roomForWhole(memory)
    val largest = groups.map(g => manifest.bytes(Seq(g))).sorted(Ordering[Long].reverse).scanLeft(0L)(_ + _).tail
    val onDriver = Runtime.getRuntime.maxMemory / (DriverMatrices * 8L * manifest.columns * manifest.columns)
    math.max(1L, math.min(math.min(most.toLong, onDriver), largest.count(_ <= room).toLong)).toInt
  }

  /** A group, of which nothing is read yet. */
  def open(group: MatrixGroup, partitions: Int): CachedGroup = {
    val all = rows(Seq(group), partitions, whole = false)
    val blocks = manifest.dtype match {
      case Dtype.Float32 => blocksOf(all, group, Values.Floats) _
      case Dtype.Float64 => blocksOf(all, group, Values.Doubles) _
    }
    new CachedGroup(path, group, blocks, manifest.bytes(Seq(group)), memory)
  }

  /**
   * Rows of groups as they are, unchecked: group, number, values. Rows of other groups may be among them, and each is
   * valid until the next one is asked for.
   *
   * @param partitions
   *   at most; a row group of a file is in one
   * @param whole
   *   whether all rows of a group should be in one partition, if they are side by side
   */
  def rows(groups: Seq[MatrixGroup], partitions: Int, whole: Boolean): RDD[InternalRow] = {
    val ranges = index.ranges(groups.map(_.group), partitions, whole)
    if (ranges.isEmpty) session.sparkContext.emptyRDD
    else {
      val reader = read
      session.sparkContext.makeRDD(ranges.map(r => (r.ranges, r.hosts))).mapPartitions(_.flatten.flatMap(reader(_)))
    }
  }
}

private[bridge] object ExchangeReader {

  // Gram matrices, their factors and copies that a decomposition has on the driver at a time; half of the heap is left.
  private val DriverMatrices = 16

  /** Bytes that Spark has to keep data in, if that is known: executors of a cluster come and go. */
  private def storageMemory(sc: SparkContext): Long =
    if (sc.isLocal) sc.getExecutorMemoryStatus.values.map(_._1).sum else Long.MaxValue

  private def blocksOf[T](rows: RDD[InternalRow], group: MatrixGroup, values: Values[T])(lasting: Boolean): RDD[CheckedBlock] =
    rows.mapPartitions(all => new CheckedBlocks(all.filter(_.getInt(0) == group.group), group, values, lasting))

  private[bridge] def readingFrom[T](path: String)(body: => T): T =
    try body
    catch { case NonFatal(e) => throw Errors.fromReading(e, path) }
}
