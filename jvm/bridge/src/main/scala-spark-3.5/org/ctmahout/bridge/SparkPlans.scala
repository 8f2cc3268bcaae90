package org.ctmahout.bridge

import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.execution.SparkPlan

private[bridge] object SparkPlans {

  /** What Spark 3.5 plans for a query, before plugins put accelerators of their own in the place of its scans. */
  def of(frame: DataFrame): SparkPlan = frame.queryExecution.sparkPlan
}
