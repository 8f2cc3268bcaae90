package org.ctmahout.bridge

import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.execution.SparkPlan

private[bridge] object SparkPlans {

  /** What Spark 3.5 will do for a query. */
  def of(frame: DataFrame): SparkPlan = frame.queryExecution.executedPlan
}
