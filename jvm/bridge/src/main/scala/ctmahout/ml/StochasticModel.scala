package ctmahout.ml

import org.apache.hadoop.fs.Path
import org.apache.spark.ml.Model
import org.apache.spark.ml.linalg._
import org.apache.spark.ml.linalg.SQLDataTypes.VectorType
import org.apache.spark.ml.util._
import org.apache.spark.sql.{DataFrame, Dataset, functions}
import org.apache.spark.sql.types.{ArrayType, DoubleType, StructType}
import org.ctmahout.bridge.Errors

/**
 * What a model holds, in the form in which it is saved.
 *
 * @param means
 *   of the columns, where these were taken off
 * @param squaredNorm
 *   of what was decomposed
 */
private[ml] final case class Learned(s: Vector, v: Matrix, means: Option[Vector], squaredNorm: Double)

/**
 * A projection of vectors on right singular vectors.
 *
 * Saved by the writers of Spark itself: the parameters as every stage's, in `metadata`; singular values and vectors as one
 * row of Parquet, in `data`.
 */
abstract class StochasticModel[M <: StochasticModel[M]] private[ml] extends Model[M] with StochasticParams with DefaultParamsWritable {
  private[ml] var learned: Learned = _

  private[ml] def having(what: Learned): M = {
    learned = what
    this.asInstanceOf[M]
  }

  def setInputCol(value: String): this.type = set(inputCol, value)
  def setOutputCol(value: String): this.type = set(outputCol, value)

  /** Singular values, descending: k of them, or fewer if the matrix is of lower rank. */
  def s: DenseVector = learned.s.toDense

  /** Right singular vectors, a column each; the entry of largest magnitude of each is positive. */
  def v: DenseMatrix = learned.v.toDense

  /**
   * Appends the projected vectors.
   *
   * @throws org.apache.spark.SparkException
   *   in the job that computes them; its message has CTM_DATAFRAME_NULL, CTM_DATAFRAME_WIDTH or CTM_DATAFRAME_NOT_FINITE
   */
  override def transform(dataset: Dataset[_]): DataFrame = {
    val schema = transformSchema(dataset.schema)
    val projection = dataset.sparkSession.sparkContext.broadcast(new Projection(learned, $(inputCol)))
    val column = dataset.col("`" + $(inputCol).replace("`", "``") + "`")
    val projected = dataset.schema($(inputCol)).dataType match {
      case VectorType => functions.udf((x: Vector) => projection.value.of(x)).apply(column)
      case _ =>
        val ofArray = functions.udf((x: Seq[java.lang.Double]) => projection.value.of(Projection.vector(x, projection.value.column)))
        ofArray(column.cast(ArrayType(DoubleType)))
    }
    dataset.withColumn($(outputCol), projected.as($(outputCol), schema($(outputCol)).metadata))
  }

  override def transformSchema(schema: StructType): StructType = appended(schema, Some(learned.s.size))

  override def write: MLWriter = {
    val ofParams = super.write
    new MLWriter {
      override protected def saveImpl(path: String): Unit = {
        ofParams.session(sparkSession).save(path)
        sparkSession.createDataFrame(Seq(learned)).coalesce(1).write.parquet(new Path(path, "data").toString)
      }
    }
  }
}

/** Reads a model: its parameters as Spark does, and what it has learned. */
private[ml] trait StochasticModelReadable[M <: StochasticModel[M]] extends DefaultParamsReadable[M] {
  override def read: MLReader[M] = {
    val ofParams = super.read
    new MLReader[M] {
      override def load(path: String): M = {
        val model = ofParams.session(sparkSession).load(path)
        val row = sparkSession.read.parquet(new Path(path, "data").toString).select("s", "v", "means", "squaredNorm").head()
        model.having(Learned(row.getAs[Vector](0), row.getAs[Matrix](1), Option(row.getAs[Vector](2)), row.getDouble(3)))
      }
    }
  }
}

/** x V, or (x - mean) V. */
private[ml] final class Projection(learned: Learned, val column: String) extends Serializable {
  private val (n, k) = (learned.v.numRows, learned.v.numCols)
  private val rows = learned.v.transpose.toArray // V, row by row
  private val means = learned.means.map(_.toArray)
  private val ofMeans = means.fold(new Array[Double](k))(sum(_))

  def of(x: Vector): Vector = {
    if (x eq null) throw Errors("CTM_DATAFRAME_NULL", "row" -> "A row", "column" -> column)
    if (x.size != n) throw Errors("CTM_DATAFRAME_WIDTH", "row" -> "A row", "given" -> x.size, "column" -> column, "expected" -> n)
    val out = x match {
      case sparse: SparseVector =>
        val out = ofMeans.map(-_)
        for (i <- sparse.indices.indices) add(out, sparse.indices(i), sparse.values(i))
        out
      // The means are taken off first: of two large projections that are nearly alike half of the digits may be left.
      case dense => sum(means.fold(dense.toArray)(m => Array.tabulate(n)(i => dense(i) - m(i))))
    }
    if (!out.forall(y => math.abs(y) <= Double.MaxValue)) throw Errors("CTM_DATAFRAME_NOT_FINITE", "row" -> "A row", "column" -> column)
    Vectors.dense(out)
  }

  private def sum(x: Array[Double]): Array[Double] = {
    val out = new Array[Double](k)
    for (i <- x.indices) add(out, i, x(i))
    out
  }

  private def add(out: Array[Double], i: Int, x: Double): Unit = {
    var j = 0
    while (j < k) { out(j) += x * rows(i * k + j); j += 1 }
  }
}

private[ml] object Projection {
  def vector(x: Seq[java.lang.Double], column: String): Vector =
    if (x eq null) null
    else {
      val at = x.indexWhere(_ eq null)
      if (at >= 0) throw Errors("CTM_DATAFRAME_NULL", "row" -> "A row", "column" -> s"$column[$at]")
      Vectors.dense(x.iterator.map(_.doubleValue).toArray)
    }
}
