package org.ctmahout.bridge

import scala.util.control.NonFatal

import org.apache.hadoop.fs.FileSystem
import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.types._
import org.apache.spark.sql.vectorized.ColumnarBatch

/**
 * Reads the groups of a matrix directory and refuses what contract/v1 wants refused.
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

  private lazy val files = {
    val found = PartFiles.of(fs, manifest)
    PartFiles.check(session.sparkContext, found, manifest.dtype, ReadingSession.hadoop(session))
    found
  }

  /** A group, of which nothing is read yet. */
  def open(group: MatrixGroup, partitions: Int): CachedGroup = {
    val all = rows(Seq(group), partitions)
    val blocks = manifest.dtype match {
      case Dtype.Float32 => blocksOf(all, group, Values.Floats) _
      case Dtype.Float64 => blocksOf(all, group, Values.Doubles) _
    }
    new CachedGroup(path, group, blocks, manifest.bytes(Seq(group)), memory)
  }

  /**
   * Rows of groups as they are, unchecked: group, number, values. There may be some of other groups among them, and each is
   * there until the next one is asked for only.
   */
  def rows(groups: Seq[MatrixGroup], partitions: Int): RDD[InternalRow] =
    if (files.isEmpty) session.sparkContext.emptyRDD
    else {
      ReadingSession.splitInto(session, partitions, files.map(_.getLen).sum)
      if (fs.getUri.getScheme == "file") ReadingSession.lookOneByOne(session)
      val paths = files.map(_.getPath.toString)
      val frame = session.read.options(ReadOptions).schema(schema(manifest.dtype)).parquet(paths: _*)
      val numbers = groups.map(_.group)
      // The condition has files and parts of files left out. Of the plan only the scan is taken: what Spark would do next,
      // copying each row into its own format, is a third of the time that reading takes.
      val rows = SparkPlans.of(frame.where(frame("group").between(numbers.min, numbers.max))).collectLeaves().head match {
        case scan if scan.supportsColumnar => scan.executeColumnar().mapPartitions(_.flatMap(rowsOf))
        case scan => scan.execute()
      }
      if (rows.getNumPartitions > partitions) rows.coalesce(partitions) else rows
    }
}

private[bridge] object ExchangeReader {

  /** Options of one read become Hadoop settings of that read only, so nobody else's reads are touched. */
  private val ReadOptions = Map(
    // Without it a flipped bit in a page is read without a word.
    "parquet.page.verify-checksum.enabled" -> "true",
    // A row group is one piece of its file: reading it by other threads would gain nothing, and takes cores from tasks.
    "parquet.hadoop.vectored.io.enabled" -> "false",
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

  /** Bytes that Spark has to keep data in, if that is known: executors of a cluster come and go. */
  private def storageMemory(sc: SparkContext): Long =
    if (sc.isLocal) sc.getExecutorMemoryStatus.values.map(_._1).sum else Long.MaxValue

  private def blocksOf[T](rows: RDD[InternalRow], group: MatrixGroup, values: Values[T])(lasting: Boolean): RDD[RowBlock] =
    rows.mapPartitions(all => new RowBlocks(all.filter(_.getInt(0) == group.group), group, values, lasting))

  private def rowsOf(batch: ColumnarBatch): Iterator[InternalRow] = {
    val rows = batch.rowIterator()
    Iterator.continually(rows).takeWhile(_.hasNext).map(_.next())
  }

  private[bridge] def readingFrom[T](path: String)(body: => T): T =
    try body
    catch { case NonFatal(e) => throw Errors.fromReading(e, path) }
}
