package org.ctmahout.bridge

import scala.util.control.NonFatal

import org.apache.hadoop.fs.FileSystem
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.types._
import org.apache.spark.storage.StorageLevel

/** A group in memory, every row of it checked. The caller unpersists. */
private[bridge] final case class CachedGroup(group: MatrixGroup, blocks: RDD[RowBlock], squaredNorm: Double)

/**
 * Reads the groups of a matrix directory and refuses what contract/v1 wants refused.
 *
 * @param session
 *   a session of our own, since settings of SQL decide how Parquet is read (see [[ReadingSession]])
 */
private[bridge] final class ExchangeReader(session: SparkSession, fs: FileSystem, manifest: MatrixManifest) {
  import ExchangeReader._

  private val path = Manifest.shown(manifest.path)

  private lazy val files = {
    val found = PartFiles.list(fs, manifest.path)
    PartFiles.check(session.sparkContext, found, manifest.dtype, ReadingSession.hadoop(session))
    found
  }

  /** Reads a group into memory in one pass that checks each row on the way. */
  def read(group: MatrixGroup, partitions: Int): CachedGroup = {
    val blocks = manifest.dtype match {
      case Dtype.Float32 => blocksOf(group, partitions, Values.Floats)
      case Dtype.Float64 => blocksOf(group, partitions, Values.Doubles)
    }
    // Spilling to disk is slower than memory and much faster than reading and checking again.
    blocks.setName(s"$path, group ${group.group}").persist(StorageLevel.MEMORY_AND_DISK)
    try {
      val checks = readingFrom(path)(blocks.mapPartitions(b => Iterator(RowCheck.sum(b.map(_.check)))).collect())
      val check = RowCheck.sum(checks.iterator)
      verify(group, check, blocks)
      CachedGroup(group, blocks, check.squaredNorm)
    } catch {
      case e: Throwable =>
        blocks.unpersist()
        throw e
    }
  }

  private def blocksOf[T](group: MatrixGroup, partitions: Int, values: Values[T]): RDD[RowBlock] = {
    val rows = this.rows(group, partitions)
    val parts = if (rows.getNumPartitions > partitions) rows.coalesce(partitions) else rows
    parts.mapPartitions(new RowBlocks(_, group, values))
  }

  /** The rows of a group: number, values. */
  private def rows(group: MatrixGroup, partitions: Int): RDD[InternalRow] =
    if (files.isEmpty) session.sparkContext.emptyRDD
    else {
      ReadingSession.splitInto(session, partitions, files.map(_.getLen).sum)
      val paths = files.map(_.getPath.toString)
      val frame = session.read.options(ReadOptions).schema(schema(manifest.dtype)).parquet(paths: _*)
      SparkRows.of(frame.where(frame("group") === group.group).select("row", "values"))
    }

  private def verify(group: MatrixGroup, check: RowCheck, blocks: RDD[RowBlock]): Unit = {
    // Every one of these errors begins with where it is.
    def error(code: String, fields: (String, Any)*) =
      Errors(code, Seq("path" -> path, "group" -> group.group) ++ fields: _*)
    check.bad.foreach {
      case BadRow(row, BadRow.Width, width) =>
        throw error("CTM_EXCHANGE_WIDTH", "row" -> row, "given" -> width, "expected" -> group.columns)
      case BadRow(row, BadRow.NotFinite, _) =>
        throw error("CTM_EXCHANGE_NOT_FINITE", "row" -> row)
      case BadRow(row, _, _) =>
        throw error("CTM_EXCHANGE_ROW_RANGE", "row" -> row, "last" -> (group.rows - 1))
    }
    // Two sums tell that each row is there once; only when they do not agree is it worth finding out which is not.
    if (check.count != group.rows || check.rowNumbers != Checksum.ofRowNumbers(group.rows)) {
      RowDiagnosis.of(blocks.map(_.rows), group.rows) match {
        case RowDiagnosis.Duplicate(row) =>
          throw error("CTM_EXCHANGE_ROW_DUPLICATE", "row" -> row)
        case RowDiagnosis.Missing(row, count) =>
          throw error("CTM_EXCHANGE_ROW_MISSING", "row" -> row, "given" -> count, "expected" -> group.rows)
      }
    }
    val checksum = Checksum.hex(check.checksum)
    if (checksum != group.checksum)
      throw error("CTM_EXCHANGE_CHECKSUM", "given" -> checksum, "expected" -> group.checksum)
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
