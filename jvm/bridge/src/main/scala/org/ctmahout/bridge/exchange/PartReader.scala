package org.ctmahout.bridge
package exchange

import java.io.IOException

import scala.util.control.NonFatal

import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.types._
import org.ctmahout.bridge.SparkInternals.{FileRange, InternalRow}

/** Reads row groups of part files: group, number, values. */
private[bridge] final class PartReader private (read: FileRange => Iterator[Any]) extends Serializable {

  /** The rows of a range of a file; each is valid until the next one is asked for. */
  def apply(range: FileRange): Iterator[InternalRow] = {
    val all = decoding(range)(read(range))
    val some = new Iterator[Any] {
      override def hasNext: Boolean = decoding(range)(all.hasNext)
      override def next(): Any = decoding(range)(all.next())
    }
    some.flatMap(SparkInternals.rows)
  }

  /** Whatever a decoder throws over damaged bytes is a failure to read this file. */
  private def decoding[T](range: FileRange)(body: => T): T =
    try body
    catch { case NonFatal(e) => throw new IOException(s"${SparkInternals.shown(range)} cannot be read", e) }
}

private[bridge] object PartReader {

  /** @param session whose settings say how Parquet is read, see [[ReadingSession]] */
  def apply(session: SparkSession, dtype: Dtype): PartReader = {
    val schema = StructType(Seq(
      StructField("group", IntegerType, nullable = false),
      StructField("row", LongType, nullable = false),
      StructField("values", ArrayType(dtype.sql, containsNull = false), nullable = false)
    ))
    val hadoop = ReadingSession.hadoop(session)
    Options.foreach { case (key, value) => hadoop.set(key, value) }
    new PartReader(SparkInternals.parquetReader(session, schema, Options, hadoop))
  }

  private val Options = Map(
    // Without it a flipped bit in a page is read without a word.
    "parquet.page.verify-checksum.enabled" -> "true",
    // A row group is one piece of its file: reading it by other threads would gain nothing, and takes cores from tasks.
    "parquet.hadoop.vectored.io.enabled" -> "false"
  )
}
