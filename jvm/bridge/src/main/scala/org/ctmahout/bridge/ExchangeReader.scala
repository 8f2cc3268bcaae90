package org.ctmahout.bridge

import scala.util.control.NonFatal

import org.apache.hadoop.fs.FileSystem
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.types._
import org.apache.spark.storage.StorageLevel

/** A group, every row of it checked, and in memory what fits. The caller unpersists. */
private[bridge] final case class CachedGroup(group: MatrixGroup, blocks: RDD[RowBlock], squaredNorm: Double)

/**
 * Reads the groups of a matrix directory and refuses what contract/v1 wants refused.
 *
 * @param session
 *   a session of our own, since settings of SQL decide how Parquet is read (see [[ReadingSession]])
 */
private[bridge] final class ExchangeReader(session: SparkSession, fs: FileSystem, val manifest: MatrixManifest) {
  import ExchangeReader._

  val path: String = Manifest.shown(manifest.path)

  private lazy val files = {
    val found = PartFiles.list(fs, manifest.path)
    PartFiles.check(session.sparkContext, found, manifest.dtype, ReadingSession.hadoop(session))
    found
  }

  /** Reads a group in one pass that checks each row, and keeps in memory what fits. */
  def read(group: MatrixGroup, partitions: Int): CachedGroup = {
    val blocks = manifest.dtype match {
      case Dtype.Float32 => blocksOf(group, partitions, Values.Floats)
      case Dtype.Float64 => blocksOf(group, partitions, Values.Doubles)
    }
    // What does not fit is decoded anew in each pass: a third of the time that spilling and reading it back takes.
    blocks.setName(s"$path, group ${group.group}").persist(StorageLevel.MEMORY_ONLY)
    try {
      val checks = readingFrom(path)(blocks.mapPartitions(b => Iterator(RowCheck.sum(b.map(_.check)))).collect())
      val check = RowCheck.sum(checks.iterator)
      GroupCheck.refusal(path, group, check)(RowDiagnosis.of(blocks.map(_.rows), group.rows)).foreach(r => throw r.error)
      CachedGroup(group, blocks, check.squaredNorm)
    } catch {
      case e: Throwable =>
        blocks.unpersist()
        throw e
    }
  }

  private def blocksOf[T](group: MatrixGroup, partitions: Int, values: Values[T]): RDD[RowBlock] =
    rows(Seq(group), partitions).mapPartitions(new RowBlocks(_, group, values))

  /** Rows of groups as they are, unchecked: group, number, values. There may be some of other groups among them. */
  def rows(groups: Seq[MatrixGroup], partitions: Int): RDD[InternalRow] =
    if (files.isEmpty) session.sparkContext.emptyRDD
    else {
      ReadingSession.splitInto(session, partitions, files.map(_.getLen).sum)
      val paths = files.map(_.getPath.toString)
      val frame = session.read.options(ReadOptions).schema(schema(manifest.dtype)).parquet(paths: _*)
      val numbers = groups.map(_.group)
      val rows = SparkRows.of(frame.where(frame("group").between(numbers.min, numbers.max)))
      if (rows.getNumPartitions > partitions) rows.coalesce(partitions) else rows
    }
}

private[bridge] object ExchangeReader {

  /** Options of one read become Hadoop settings of that read only, so nobody else's reads are touched. */
  private val ReadOptions = Map(
    // Without it a flipped bit in a page is read without a word.
    "parquet.page.verify-checksum.enabled" -> "true",
    "ignoreCorruptFiles" -> "false",
    "ignoreMissingFiles" -> "false",
    "mergeSchema" -> "false",
    // The files are named one by one: brackets and stars in a path are just letters, group=1 in it no partition.
    "__globPaths__" -> "false",
    "recursiveFileLookup" -> "true")

  private def schema(dtype: Dtype): StructType = StructType(Seq(
    StructField("group", IntegerType, nullable = false),
    StructField("row", LongType, nullable = false),
    StructField("values", ArrayType(dtype.sql, containsNull = false), nullable = false)))

  private[bridge] def readingFrom[T](path: String)(body: => T): T =
    try body
    catch { case NonFatal(e) => throw Errors.fromReading(e, path) }
}
