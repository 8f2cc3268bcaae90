package org.ctmahout.bridge

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.catalyst.InternalRow

/** Spark 3.5: the rows of a query as Spark holds them, whose arrays give primitive ones without boxing. */
private[bridge] object SparkRows {
  def of(frame: DataFrame): RDD[InternalRow] = frame.queryExecution.toRdd
}
