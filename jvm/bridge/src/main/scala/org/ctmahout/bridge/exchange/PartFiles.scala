package org.ctmahout.bridge
package exchange

import java.io.FileNotFoundException

import scala.util.control.NonFatal

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileStatus, FileSystem, Path}
import org.apache.parquet.column.statistics.IntStatistics
import org.apache.parquet.hadoop.ParquetFileReader
import org.apache.parquet.hadoop.metadata.{BlockMetaData, ColumnChunkMetaData}
import org.apache.parquet.hadoop.util.HadoopInputFile
import org.apache.parquet.schema.{GroupType, LogicalTypeAnnotation, MessageType, Type}
import org.apache.parquet.schema.LogicalTypeAnnotation.{IntLogicalTypeAnnotation, ListLogicalTypeAnnotation}
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName
import org.apache.spark.SparkContext
import org.ctmahout.bridge.SparkInternals.SerializableConfiguration

/** The part files of a directory: each exists, is a Parquet file and has the contract's columns; and their footers. */
private[bridge] object PartFiles {

  /** Names of those that the manifest has; of version 1.0, all that are there. */
  def names(fs: FileSystem, manifest: MatrixManifest): Seq[String] =
    manifest.files.fold(fs.listStatus(manifest.path).toSeq.filter(_.isFile).map(_.getPath.getName).filter(isPart).sorted)(
      _.filterNot(_.contains('/')))

  private def isPart(name: String) = name.startsWith("part-") && name.endsWith(".parquet")

  /**
   * Reads every footer, on the executors, in the order of the names. Spark itself looks at one file and assumes that the others
   * are alike; one that is not would fail with whatever error its decoder happens to meet.
   */
  def footers(
      sc: SparkContext,
      directory: Path,
      names: Seq[String],
      dtype: Dtype,
      hadoop: Configuration): Seq[PartFooter] = {
    val conf = new SerializableConfiguration(hadoop)
    val folder = directory.toString
    val read = sc
      .parallelize(names, math.max(1, math.min(names.size, 4 * sc.defaultParallelism)))
      .map(name => footer(new Path(folder, name), dtype, conf.value))
      .collect()
      .toSeq
    // Missing files first, then schemas, then content, and of several the first file: the error must not depend on which
    // task came first.
    val problems = names.zip(read).collect { case (name, Left((code, text))) => (code, name, text) }
    problems.sortBy { case (code, name, _) => (rank(code), name) }.headOption.foreach {
      case (Missing, name, _) => throw Errors(Missing, "path" -> Manifest.shown(directory), "file" -> name)
      case (code, name, text) => throw Errors(code, "path" -> Manifest.shown(new Path(directory, name)), "problem" -> text)
    }
    read.flatMap(_.toOption)
  }

  private val Missing = "CTM_EXCHANGE_FILE_MISSING"
  private val Schema = "CTM_EXCHANGE_SCHEMA"

  private def rank(code: String): Int = Seq(Missing, Schema).indexOf(code) match {
    case -1 => 2
    case i => i
  }

  private def footer(file: Path, dtype: Dtype, conf: Configuration): Either[(String, String), PartFooter] =
    try {
      val fs = file.getFileSystem(conf)
      val status = fs.getFileStatus(file)
      val reader = ParquetFileReader.open(HadoopInputFile.fromStatus(status, conf))
      try
        schemaProblem(reader.getFileMetaData.getSchema, dtype) match {
          case Some(problem) => Left(Schema -> problem)
          case None =>
            val rowGroups = reader.getRowGroups.toArray(Array.empty[BlockMetaData]).filter(_.getRowCount > 0)
            val ranges = rowGroups.map(groupRange)
            Right(PartFooter(
              file.toString,
              status.getLen,
              status.getModificationTime,
              rowGroups.map(_.getStartingPos),
              rowGroups.map(_.getCompressedSize),
              ranges.map(_._1),
              ranges.map(_._2),
              hosts(fs, status)
            ))
        }
      finally reader.close()
    } catch {
      case _: FileNotFoundException => Left(Missing -> "")
      case NonFatal(e) => Left(Errors.readingCode(e) -> Errors.rootDetail(e))
    }

  /** The smallest and the largest group of a row group. */
  private def groupRange(rowGroup: BlockMetaData): (Int, Int) = {
    val column = rowGroup.getColumns.toArray(Array.empty[ColumnChunkMetaData]).find(_.getPath.toDotString == "group")
    column.map(_.getStatistics) match {
      case Some(ints: IntStatistics) if ints.hasNonNullValue => (ints.getMin, ints.getMax)
      case _ => PartIndex.Unknown
    }
  }

  private def hosts(fs: FileSystem, file: FileStatus): Array[String] =
    Option(fs.getFileBlockLocations(file, 0, 1)).toSeq.flatten.flatMap(_.getHosts).filter(_ != "localhost").distinct.toArray

  private[bridge] def schemaProblem(schema: MessageType, dtype: Dtype): Option[String] = {
    def column(name: String, what: String)(fits: Type => Boolean): Option[String] =
      if (!schema.containsField(name)) Some(s"column $name is missing, expected $what")
      else {
        val field = schema.getType(Array(name): _*)
        if (fits(field)) None else Some(s"column $name is ${described(field)}, expected $what")
      }
    column("group", "INT32 not null")(isInteger(_, PrimitiveTypeName.INT32, 32))
      .orElse(column("row", "INT64 not null")(isInteger(_, PrimitiveTypeName.INT64, 64)))
      .orElse(column("values", s"a LIST of ${dtype.parquet}, not null")(isListOf(_, dtype)))
  }

  private def isInteger(field: Type, primitive: PrimitiveTypeName, width: Int): Boolean =
    isRequired(field, primitive) && (field.getLogicalTypeAnnotation match {
      case null => true
      case i: IntLogicalTypeAnnotation => i.isSigned && i.getBitWidth == width
      case _ => false // a date, a time, a decimal
    })

  private def isRequired(field: Type, primitive: PrimitiveTypeName): Boolean =
    field.isPrimitive && field.isRepetition(Type.Repetition.REQUIRED) &&
      field.asPrimitiveType.getPrimitiveTypeName == primitive

  /** The three-level list of the Parquet specification; writers differ in the names of the inner two levels. */
  private def isListOf(field: Type, dtype: Dtype): Boolean =
    field.isRepetition(Type.Repetition.REQUIRED) && isList(field.getLogicalTypeAnnotation) && !field.isPrimitive && {
      onlyChild(field.asGroupType).exists { repeated =>
        repeated.isRepetition(Type.Repetition.REPEATED) && !repeated.isPrimitive &&
        onlyChild(repeated.asGroupType).exists(isRequired(_, dtype.parquet))
      }
    }

  private def isList(annotation: LogicalTypeAnnotation) = annotation.isInstanceOf[ListLogicalTypeAnnotation]

  private def onlyChild(group: GroupType): Option[Type] =
    if (group.getFieldCount == 1) Some(group.getType(0)) else None

  private def described(field: Type): String = field.toString.replaceAll("\\s+", " ")
}
