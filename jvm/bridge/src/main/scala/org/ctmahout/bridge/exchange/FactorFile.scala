package org.ctmahout.bridge
package exchange

import java.util.Collections

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.parquet.hadoop.{ParquetFileWriter, ParquetWriter}
import org.apache.parquet.hadoop.api.WriteSupport
import org.apache.parquet.hadoop.metadata.CompressionCodecName
import org.apache.parquet.hadoop.util.HadoopStreams
import org.apache.parquet.io.{OutputFile, PositionOutputStream}
import org.apache.parquet.io.api.RecordConsumer
import org.apache.parquet.schema.{MessageType, Types}
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName

/**
 * One Parquet file of a factors directory, by parquet-hadoop itself: Spark's writer would make every column nullable,
 * take its settings from the session, and box each value on the way.
 */
private[bridge] final class FactorFile(path: Path, dtype: Dtype, conf: Configuration) extends AutoCloseable {
  private val row = new FactorFile.Row(dtype)
  private val writer = new FactorFile.Builder(new FactorFile.NewFile(path, conf), row)
    .withConf(conf)
    .withWriteMode(ParquetFileWriter.Mode.CREATE)
    .withCompressionCodec(CompressionCodecName.UNCOMPRESSED) // noise does not compress
    .withDictionaryEncoding(false)
    .withPageWriteChecksumEnabled(true)
    .withRowGroupSize(8L << 20)
    .withPageSize(1 << 20)
    .build()

  private val checksums = scala.collection.mutable.LongMap.empty[Long]
  private var weights = Checksum.weights(0)

  /** The checksum of what was written for a group; for a matrix of floats, that of U as floats. */
  def checksum(group: Int): Long = checksums.getOrElse(group.toLong, 0L)

  def write(group: Int, number: Long, values: Array[Double]): Unit = {
    if (weights.length != values.length) weights = Checksum.weights(values.length)
    row.group = group
    row.number = number
    val sum = dtype match {
      case Dtype.Float32 =>
        row.floats = values.map(_.toFloat)
        Checksum.ofRow(number, row.floats, weights)
      case Dtype.Float64 =>
        row.doubles = values
        Checksum.ofRow(number, values, weights)
    }
    checksums(group.toLong) = checksum(group) + sum
    writer.write(row)
  }

  override def close(): Unit = writer.close()
}

private[bridge] object FactorFile {

  private final class Row(val dtype: Dtype) {
    var group = 0
    var number = 0L
    var floats: Array[Float] = _
    var doubles: Array[Double] = _
  }

  private[bridge] def schema(dtype: Dtype): MessageType = Types
    .buildMessage()
    .required(PrimitiveTypeName.INT32)
    .named("group")
    .required(PrimitiveTypeName.INT64)
    .named("row")
    .requiredList()
    .requiredElement(dtype.parquet)
    .named("values")
    .named("ctmahout")

  /**
   * A file in an existing folder. Creating folders, as Parquet's own class does, would bring back that of a run which was
   * cancelled, if one of its tasks is late.
   */
  private final class NewFile(path: Path, conf: Configuration) extends OutputFile {
    private val fs = path.getFileSystem(conf)

    override def create(blockSizeHint: Long): PositionOutputStream =
      HadoopStreams.wrap(fs.createFile(path).overwrite(false).build())

    override def createOrOverwrite(blockSizeHint: Long): PositionOutputStream =
      HadoopStreams.wrap(fs.createFile(path).overwrite(true).build())

    override def supportsBlockSize: Boolean = false

    override def defaultBlockSize: Long = 0

    override def getPath: String = path.toString
  }

  private final class Builder(file: OutputFile, row: Row) extends ParquetWriter.Builder[Row, Builder](file) {
    override protected def self(): Builder = this
    override protected def getWriteSupport(conf: Configuration): WriteSupport[Row] = new Support(row.dtype)
  }

  private final class Support(dtype: Dtype) extends WriteSupport[Row] {
    private var out: RecordConsumer = _

    override def init(conf: Configuration): WriteSupport.WriteContext =
      new WriteSupport.WriteContext(schema(dtype), Collections.emptyMap[String, String]())

    override def prepareForWrite(consumer: RecordConsumer): Unit = out = consumer

    override def write(row: Row): Unit = {
      out.startMessage()
      out.startField("group", 0)
      out.addInteger(row.group)
      out.endField("group", 0)
      out.startField("row", 1)
      out.addLong(row.number)
      out.endField("row", 1)
      out.startField("values", 2)
      out.startGroup()
      dtype match {
        case Dtype.Float32 => list(row.floats.length)(j => out.addFloat(row.floats(j)))
        case Dtype.Float64 => list(row.doubles.length)(j => out.addDouble(row.doubles(j)))
      }
      out.endGroup()
      out.endField("values", 2)
      out.endMessage()
    }

    /** The inner two levels; an empty list has neither. */
    private def list(n: Int)(add: Int => Unit): Unit = if (n > 0) {
      out.startField("list", 0)
      var j = 0
      while (j < n) {
        out.startGroup()
        out.startField("element", 0)
        add(j)
        out.endField("element", 0)
        out.endGroup()
        j += 1
      }
      out.endField("list", 0)
    }
  }
}
