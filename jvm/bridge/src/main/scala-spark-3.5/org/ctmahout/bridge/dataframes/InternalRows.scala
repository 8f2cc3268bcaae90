package org.ctmahout.bridge.dataframes

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.catalyst.InternalRow

private[dataframes] object InternalRows {

  /** The rows in Spark's own form: without an object for each value. */
  def of(frame: DataFrame): RDD[InternalRow] = frame.queryExecution.toRdd
}
