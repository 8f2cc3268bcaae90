package org.ctmahout.bridge.dataframes

import java.nio.{ByteBuffer, ByteOrder}

import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.{Row, SQLContext}
import org.apache.spark.sql.sources.{BaseRelation, TableScan}
import org.apache.spark.sql.types._

/**
 * The factors of one matrix, but for U.
 *
 * @param v
 *   one array of rank values for each column of A
 * @param algorithm
 *   what decomposed it: of a request for "auto" the one chosen
 * @param means
 *   of A's columns, where it is A less these that was decomposed
 */
private[dataframes] final case class GroupFactors(
    group: Group, s: Array[Double], v: Array[Array[Double]], squaredNorm: Double, algorithm: String, warnings: Seq[String],
    means: Option[Array[Double]]) {

  /** V row by row, as doubles in little-endian order: of a million numbers, each an object, Python would make a list for a second. */
  def vBytes: Array[Byte] = {
    val bytes = ByteBuffer.allocate(Math.multiplyExact(8, Math.multiplyExact(v.length, s.length))).order(ByteOrder.LITTLE_ENDIAN)
    v.foreach(_.foreach(x => bytes.putDouble(x)))
    bytes.array
  }
}

/**
 * What is kept of a decomposition.
 *
 * @param u
 *   rows of the columns `group`, if there is one, `id` and `u`
 * @param kept
 *   what Spark keeps for U, until nothing refers to it
 */
private[dataframes] final class Factors(
    group: Option[StructField], id: Option[StructField], all: Seq[GroupFactors], u: Option[RDD[Row]], val kept: Seq[RDD[_]]) {

  /** Those of a DataFrame without groups. */
  def only: GroupFactors = all.head

  def relation(context: SQLContext): BaseRelation = new Factors.Relation(context, factorsSchema, rows(context.sparkContext))

  def uRelation(context: SQLContext): Option[BaseRelation] = u.map(new Factors.Relation(context, uSchema, _))

  private def name(field: StructField) = StructField(field.name, field.dataType, nullable = false)

  private def uSchema =
    StructType(group.map(name).toSeq ++ id.map(name) :+ StructField("u", ArrayType(DoubleType, containsNull = false), nullable = false))

  private def factorsSchema = StructType(group.map(name).toSeq ++ Seq(
    StructField("rows", LongType, nullable = false),
    StructField("columns", IntegerType, nullable = false),
    StructField("s", ArrayType(DoubleType, containsNull = false), nullable = false),
    StructField("v", BinaryType, nullable = false),
    StructField("squared_norm", DoubleType, nullable = false),
    StructField("algorithm", StringType, nullable = false),
    StructField("warnings", ArrayType(StringType, containsNull = false), nullable = false)
  ))

  private def rows(sc: SparkContext): RDD[Row] = {
    val named = group.nonEmpty
    // What is in a task goes through the driver's messages, whose size is limited; a broadcast goes in blocks.
    val sent = all.grouped(Factors.groupsAtOnce(all)).toSeq.map(some => sc.broadcast(some))
    sc.parallelize(sent, sent.size).flatMap(_.value).map { one =>
      val values = Seq[Any](one.group.rows, one.group.columns, one.s.toSeq, one.vBytes, one.squaredNorm, one.algorithm, one.warnings)
      Row.fromSeq(if (named) one.group.value +: values else values)
    }
  }
}

private[dataframes] object Factors {
  private val Bytes = 8L << 20

  /** Of groups of one width, and of about one rank. */
  private def groupsAtOnce(all: Seq[GroupFactors]): Int = {
    val largest = all.map(one => 8L * one.s.length * one.v.length).max
    math.max(1L, Bytes / math.max(1L, largest)).min(all.size.toLong).toInt
  }

  private final class Relation(override val sqlContext: SQLContext, override val schema: StructType, rows: => RDD[Row])
      extends BaseRelation with TableScan {
    override def buildScan(): RDD[Row] = rows
  }
}
