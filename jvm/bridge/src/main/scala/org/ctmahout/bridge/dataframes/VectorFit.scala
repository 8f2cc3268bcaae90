package org.ctmahout.bridge.dataframes

import org.apache.spark.sql.DataFrame
import org.ctmahout.bridge.{Errors, Json, Run}

/**
 * What an estimator of spark.ml learns from a column of vectors.
 *
 * @param v
 *   one array of rank values for each column of A
 * @param means
 *   of A's columns, where it is A less these that was decomposed
 * @param squaredNorm
 *   of what was decomposed
 */
final case class VectorFit(
    s: Array[Double], v: Array[Array[Double]], means: Option[Array[Double]], squaredNorm: Double, warnings: Seq[String])

object VectorFit {

  /**
   * Decomposes the matrix in a column of a DataFrame.
   *
   * @param options
   *   algorithm, k, p, q and seed, as those of the data source
   * @throws org.ctmahout.bridge.CtmahoutException
   *   as saving to the data source does
   */
  def apply(frame: DataFrame, column: String, options: Map[String, String]): VectorFit =
    try {
      val request = DataFrameRequest.of(options + ("columns" -> Json.mapper.writeValueAsString(Array(column))))
      val run = new Run(frame.sparkSession.sparkContext)
      val found = run.within(new DataFrameSvd(frame, request, run).factors()).only
      VectorFit(found.s, found.v, found.means, found.squaredNorm, found.warnings)
    } catch { case e: Throwable => throw Errors.from(e) }
}
