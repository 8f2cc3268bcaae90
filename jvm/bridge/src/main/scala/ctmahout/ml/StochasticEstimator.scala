package ctmahout.ml

import org.apache.spark.ml.Estimator
import org.apache.spark.ml.linalg.{DenseMatrix, Vectors}
import org.apache.spark.ml.util.DefaultParamsWritable
import org.apache.spark.sql.Dataset
import org.apache.spark.sql.types.StructType
import org.ctmahout.bridge.BuildInfo
import org.ctmahout.bridge.dataframes.VectorFit
import org.slf4j.LoggerFactory

/** An estimator whose model projects vectors on the leading right singular vectors of its input column. */
abstract class StochasticEstimator[M <: StochasticModel[M]] private[ml]
    extends Estimator[M]
    with StochasticParams
    with DefaultParamsWritable {

  def setInputCol(value: String): this.type = set(inputCol, value)
  def setOutputCol(value: String): this.type = set(outputCol, value)
  def setK(value: Int): this.type = set(k, value)
  def setP(value: Int): this.type = set(p, value)
  def setQ(value: Int): this.type = set(q, value)
  def setSeed(value: Long): this.type = set(seed, value)

  private[ml] def algorithmName: String
  private[ml] def newModel: M

  /**
   * Decomposes the matrix whose rows are the vectors of the input column.
   *
   * @throws org.ctmahout.bridge.CtmahoutException
   *   as for `dssvd` of a DataFrame: no rows, nulls, NaN, vectors of several lengths, more components than rows or columns
   */
  override def fit(dataset: Dataset[_]): M = {
    BuildInfo.checkLine()
    transformSchema(dataset.schema)
    val options = Seq("algorithm" -> algorithmName, "p" -> $(p), "q" -> $(q), "seed" -> $(seed)) ++ get(k).map("k" -> _)
    val fitted = VectorFit(dataset.toDF(), $(inputCol), options.map { case (key, value) => key -> value.toString }.toMap)
    fitted.warnings.foreach(LoggerFactory.getLogger(getClass).warn)
    val v = new DenseMatrix(fitted.v.length, fitted.s.length, fitted.v.flatten, true)
    val learned = Learned(Vectors.dense(fitted.s), v, fitted.means.map(Vectors.dense(_)), fitted.squaredNorm)
    copyValues(newModel.having(learned).setParent(this))
  }

  override def transformSchema(schema: StructType): StructType = appended(schema, get(k))
}
