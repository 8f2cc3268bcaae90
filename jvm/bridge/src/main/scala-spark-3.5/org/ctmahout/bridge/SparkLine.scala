package org.ctmahout.bridge

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.DataFrame

/** What the lines of Spark have in different places: each has a file of this name. */
private[bridge] object SparkLine {

  /** The rows in Spark's own form: without an object for each value. */
  def rows(frame: DataFrame): RDD[SparkInternals.InternalRow] = frame.queryExecution.toRdd
}
