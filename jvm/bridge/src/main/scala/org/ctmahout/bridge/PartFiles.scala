package org.ctmahout.bridge

import java.io.FileNotFoundException

import scala.util.control.NonFatal

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileStatus, FileSystem, Path}
import org.apache.parquet.hadoop.ParquetFileReader
import org.apache.parquet.hadoop.util.HadoopInputFile
import org.apache.parquet.schema.{GroupType, LogicalTypeAnnotation, MessageType, Type}
import org.apache.parquet.schema.LogicalTypeAnnotation.{IntLogicalTypeAnnotation, ListLogicalTypeAnnotation}
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName
import org.apache.spark.SparkContext
import org.apache.spark.util.SerializableConfiguration

/** The Parquet files of a directory, and the check that each is one and has the contract's columns. */
private[bridge] object PartFiles {

  /** Those that the manifest names; of version 1.0, all that are there. */
  def of(fs: FileSystem, manifest: MatrixManifest): Seq[FileStatus] = manifest.files match {
    case None => list(fs, manifest.path)
    case Some(names) => names.filterNot(_.contains('/')).map { name =>
        try fs.getFileStatus(new Path(manifest.path, name))
        catch {
          case e: FileNotFoundException =>
            throw Errors.because(e, "CTM_EXCHANGE_FILE_MISSING", "path" -> Manifest.shown(manifest.path), "file" -> name)
        }
      }
  }

  private def list(fs: FileSystem, directory: Path): Seq[FileStatus] =
    fs.listStatus(directory).toSeq.filter(f => f.isFile && isPart(f.getPath.getName)).sortBy(_.getPath.getName)

  private def isPart(name: String) = name.startsWith("part-") && name.endsWith(".parquet")

  /**
   * Reads every footer, on the executors. Spark itself looks at one file and takes the others to be alike; one that is
   * not would end in whatever error its decoder happens to meet.
   */
  def check(sc: SparkContext, files: Seq[FileStatus], dtype: Dtype, hadoop: Configuration): Unit = {
    val conf = new SerializableConfiguration(hadoop)
    val paths = files.map(_.getPath.toString)
    val problems = sc
      .parallelize(paths, math.max(1, math.min(paths.size, 4 * sc.defaultParallelism)))
      .flatMap(path => problem(new Path(path), dtype, conf.value).map(path -> _))
      .collect()
    // Schema before content, and the first file in order: the answer must not depend on which task was first.
    problems.sortBy { case (path, (code, _)) => (code != "CTM_EXCHANGE_SCHEMA", path) }.headOption.foreach {
      case (path, (code, text)) => throw Errors(code, "path" -> Manifest.shown(new Path(path)), "problem" -> text)
    }
  }

  private def problem(file: Path, dtype: Dtype, conf: Configuration): Option[(String, String)] =
    try {
      val reader = ParquetFileReader.open(HadoopInputFile.fromPath(file, conf))
      try schemaProblem(reader.getFileMetaData.getSchema, dtype).map("CTM_EXCHANGE_SCHEMA" -> _)
      finally reader.close()
    } catch { case NonFatal(e) => Some(Errors.readingCode(e) -> Errors.rootDetail(e)) }

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
