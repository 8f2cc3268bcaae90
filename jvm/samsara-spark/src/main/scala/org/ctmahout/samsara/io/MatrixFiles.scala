package org.ctmahout.samsara
package io

import scala.reflect.ClassTag

import org.apache.hadoop.fs.Path
import org.apache.mahout.math.drm.CheckpointedDrm
import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.{Row, SparkSession}
import org.apache.spark.sql.types._
import org.ctmahout.samsara.blocks.{Far, SparkBlocks, Value}
import org.ctmahout.samsara.plan.Joins

/**
 * Matrices in directories, on any file system that Spark can reach. A path that ends in `.txt` is of text, see [[RowText]];
 * any other is Parquet with the columns `key` (int, long or string) and `values` (an array of doubles). Files of Mahout's own
 * old form, Hadoop's sequence files of Writables, are neither written nor read.
 *
 * Spark's committer writes: a directory has a file `_SUCCESS` once it is complete, also where Hadoop is told to write none
 * (`mapreduce.fileoutputcommitter.marksuccessfuljobs`), and none without it is read.
 */
private[samsara] object MatrixFiles {
  private val Complete = "_SUCCESS"
  private val Schema = "columns key (int, bigint or string) and values (array<double>)"

  /**
   * @throws IllegalArgumentException
   *   there is something at this path
   * @throws UnsupportedOperationException
   *   there is no Spark
   */
  def write(context: SamsaraContext, matrix: Value[_], path: String): Unit = {
    val sc = sparkOf(context, "dfsWrite")
    val to = new Path(path)
    val files = to.getFileSystem(sc.hadoopConfiguration)
    require(!files.exists(to), s"$path is there already: a matrix is written to a new path")
    writeRows(new Joins(context).far(matrix), context, path)
    val complete = new Path(to, Complete)
    if (!files.exists(complete)) files.create(complete).close()
  }

  private def writeRows[K](matrix: Far[K], context: SamsaraContext, path: String): Unit = {
    val blocks = matrix.rows.evaluated(context).asInstanceOf[SparkBlocks[K]].rdd
    val rows: RDD[(Any, Array[Double])] = blocks.flatMap { case (keys, m) => RddRows.of(keys, m) }
    if (path.endsWith(".txt")) rows.map { case (key, values) => RowText(key, values) }.saveAsTextFile(path)
    else {
      val key = matrix.keys match {
        case ClassTag.Int => IntegerType
        case ClassTag.Long => LongType
        case other if other.runtimeClass == classOf[String] => StringType
        case other => SparkEngine.unsupported(s"dfsWrite of rows with $other keys")
      }
      val schema = StructType(Seq(
        StructField("key", key, nullable = false),
        StructField("values", ArrayType(DoubleType, containsNull = false), nullable = false)))
      session.createDataFrame(rows.map { case (key, values) => Row(key, values.toSeq) }, schema).write.parquet(path)
    }
  }

  /**
   * @param parMin
   *   at least as many partitions, if it is positive
   * @throws IllegalArgumentException
   *   what is at this path is no matrix, or not complete
   */
  def read(context: SamsaraContext, path: String, parMin: Int): CheckpointedDrm[_] = {
    val sc = sparkOf(context, "drmDfsRead")
    val from = new Path(path)
    val files = from.getFileSystem(sc.hadoopConfiguration)
    require(files.exists(from), s"there is nothing at $path")
    require(
      files.getFileStatus(from).isFile || files.exists(new Path(from, Complete)),
      s"$path is a directory without the file $Complete: whoever was to write it has not finished"
    )
    if (path.endsWith(".txt")) {
      val lines = sc.textFile(path, math.max(parMin, 1)).filter(_.nonEmpty)
      val rows = lines.map(RowText.parsed)
      lines.take(1).headOption.map(RowText.parsed(_)._1) match {
        case Some(_: Long) => matrix[Long](context, rows, parMin)
        case Some(_: String) => matrix[String](context, rows, parMin)
        case _ => matrix[Int](context, rows, parMin)
      }
    } else {
      val table = session.read.parquet(path)
      def type_(column: String) = table.schema.find(_.name == column).map(_.dataType)
      if (!type_("values").exists(t => DataType.equalsStructurally(t, ArrayType(DoubleType), ignoreNullability = true)))
        throw new IllegalArgumentException(s"$path has ${table.schema.simpleString}, not the $Schema of a matrix")
      val rows = table.select("key", "values").rdd.map(row => (row.get(0), row.getSeq[Double](1).toArray))
      type_("key") match {
        case Some(IntegerType) => matrix[Int](context, rows, parMin)
        case Some(LongType) => matrix[Long](context, rows, parMin)
        case Some(StringType) => matrix[String](context, rows, parMin)
        case _ => throw new IllegalArgumentException(s"$path has ${table.schema.simpleString}, not the $Schema of a matrix")
      }
    }
  }

  private def matrix[K: ClassTag](context: SamsaraContext, rows: RDD[(Any, Array[Double])], parMin: Int): CheckpointedDrm[K] =
    RddRows.matrix(context, rows.asInstanceOf[RDD[(K, Array[Double])]], RddRows.Arrays, parMin = parMin)

  private def sparkOf(context: SamsaraContext, what: String): SparkContext = context match {
    case cluster: ClusterContext => cluster.sparkContext
    case _: ProcessContext => SparkEngine.unsupported(s"$what without Spark")
  }

  /** The session of the one SparkContext that a JVM can have. */
  private def session: SparkSession = SparkSession.builder().getOrCreate()
}
