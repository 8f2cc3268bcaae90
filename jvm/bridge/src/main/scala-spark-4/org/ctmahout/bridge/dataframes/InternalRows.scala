package org.ctmahout.bridge.dataframes

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.classic

private[dataframes] object InternalRows {

  /** The rows in Spark's own form: without an object for each value. */
  def of(frame: DataFrame): RDD[InternalRow] = frame match {
    case dataset: classic.Dataset[_] => dataset.queryExecution.toRdd
    case other => throw new IllegalStateException(s"${other.getClass.getName} has no rows on this JVM")
  }
}
