package org.ctmahout.bridge

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.spark.network.util.JavaUtils
import org.apache.spark.paths.SparkPath
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.CatalystTypeConverters
import org.apache.spark.sql.execution.datasources
import org.apache.spark.sql.execution.datasources.FileFormat
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat
import org.apache.spark.sql.types.{DataType, StructType}
import org.apache.spark.sql.vectorized.ColumnarBatch

/**
 * All that this project uses of Spark beyond its public API, and why: what a new release of Spark may break is in this file, and
 * in `SparkLine`, which differs between the lines of Spark.
 */
private[bridge] object SparkInternals {

  /** A row as Spark reads it, valid until the next one is read. The public `Row` has an object for each value. */
  type InternalRow = org.apache.spark.sql.catalyst.InternalRow

  /** The array in a column of such a row. */
  type ArrayData = org.apache.spark.sql.catalyst.util.ArrayData

  /** A range of a file, with what is known of the file. */
  type FileRange = datasources.PartitionedFile

  /** Hadoop's settings on their way to a task: a developers' API of Spark, since Hadoop's own class is not serializable. */
  type SerializableConfiguration = org.apache.spark.util.SerializableConfiguration

  /**
   * @param modified
   *   in milliseconds since 1970
   * @param size
   *   of the file, in bytes
   */
  def fileRange(file: Path, start: Long, bytes: Long, modified: Long, size: Long): FileRange =
    datasources.PartitionedFile(
      org.apache.spark.sql.catalyst.InternalRow.empty,
      SparkPath.fromPath(file),
      start,
      bytes,
      modificationTime = modified,
      fileSize = size)

  def shown(range: FileRange): String = range.toPath.toString

  /**
   * Spark's own reader of Parquet, asked directly and not by a query: a query chooses by itself what each of its tasks reads, and
   * copies each row into a format of its own, which is a third of the time that reading takes. It reads rows, or batches of rows
   * that it declares as rows; [[rows]] tells them apart.
   *
   * @param session
   *   whose settings say how Parquet is read
   */
  def parquetReader(
      session: SparkSession,
      schema: StructType,
      options: Map[String, String],
      hadoop: Configuration): FileRange => Iterator[Any] = {
    val format = new ParquetFileFormat
    val inBatches = FileFormat.OPTION_RETURNING_BATCH -> format.supportBatch(session, schema).toString
    format.buildReaderWithPartitionValues(session, schema, new StructType, schema, Nil, options + inBatches, hadoop)
  }

  /** The rows of what Spark's reader reads. */
  def rows(read: Any): Iterator[InternalRow] = read match {
    case batch: ColumnarBatch =>
      val rows = batch.rowIterator()
      Iterator.continually(rows).takeWhile(_.hasNext).map(_.next())
    case row => Iterator.single(row.asInstanceOf[InternalRow])
  }

  /** Turns values of a column of such rows into those of a public `Row`. */
  def toScala(dataType: DataType): Any => Any = CatalystTypeConverters.createToScalaConverter(dataType)

  /** A setting such as "64m" in bytes. */
  def bytes(setting: String): Long = JavaUtils.byteStringAsBytes(setting)

  /** The message for a cancelled job, which has no exception class of its own. A job that ended with its context has failed. */
  val Cancelled: scala.util.matching.Regex =
    """Job \d+ (was )?cancelled(?! because SparkContext was shut down)""".r.unanchored
}
