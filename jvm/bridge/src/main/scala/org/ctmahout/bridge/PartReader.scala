package org.ctmahout.bridge

import java.io.IOException

import scala.util.control.NonFatal

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.execution.datasources.{FileFormat, PartitionedFile}
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat
import org.apache.spark.sql.types._
import org.apache.spark.sql.vectorized.ColumnarBatch

/**
 * Reads row groups of part files, by Spark's own reader of Parquet: group, number, values. It is asked directly and not by a
 * query, since a query chooses by itself what each of its tasks reads, and copies each row into a format of its own, which is a third
 * of the time that reading takes.
 */
private[bridge] final class PartReader private (read: PartitionedFile => Iterator[InternalRow]) extends Serializable {

  /** The rows of a range of a file; each is there until the next one is asked for only. */
  def apply(range: PartitionedFile): Iterator[InternalRow] = {
    val rows = decoding(range)(read(range))
    val some = new Iterator[Any] {
      override def hasNext: Boolean = decoding(range)(rows.hasNext)
      // Spark calls batches rows, where it returns batches.
      override def next(): Any = decoding(range)((rows: Iterator[Any]).next())
    }
    some.flatMap {
      case batch: ColumnarBatch =>
        val rows = batch.rowIterator()
        Iterator.continually(rows).takeWhile(_.hasNext).map(_.next())
      case row => Iterator.single(row.asInstanceOf[InternalRow])
    }
  }

  /** Whatever a decoder throws over damaged bytes is a failure to read this file. */
  private def decoding[T](range: PartitionedFile)(body: => T): T =
    try body
    catch { case NonFatal(e) => throw new IOException(s"${range.toPath} cannot be read", e) }
}

private[bridge] object PartReader {

  /** @param session whose settings say how Parquet is read, see [[ReadingSession]] */
  def apply(session: SparkSession, dtype: Dtype): PartReader = {
    val schema = StructType(Seq(
      StructField("group", IntegerType, nullable = false),
      StructField("row", LongType, nullable = false),
      StructField("values", ArrayType(dtype.sql, containsNull = false), nullable = false)))
    val format = new ParquetFileFormat
    val hadoop = ReadingSession.hadoop(session)
    Options.foreach { case (key, value) => hadoop.set(key, value) }
    val inBatches = FileFormat.OPTION_RETURNING_BATCH -> format.supportBatch(session, schema).toString
    new PartReader(format.buildReaderWithPartitionValues(session, schema, new StructType, schema, Nil, Options + inBatches, hadoop))
  }

  private val Options = Map(
    // Without it a flipped bit in a page is read without a word.
    "parquet.page.verify-checksum.enabled" -> "true",
    // A row group is one piece of its file: reading it by other threads would gain nothing, and takes cores from tasks.
    "parquet.hadoop.vectored.io.enabled" -> "false")
}
