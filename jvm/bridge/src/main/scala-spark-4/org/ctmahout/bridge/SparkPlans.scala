package org.ctmahout.bridge

import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.classic
import org.apache.spark.sql.execution.SparkPlan

private[bridge] object SparkPlans {

  /** What Spark 4 plans for a query, before plugins put accelerators of their own in the place of its scans. */
  def of(frame: DataFrame): SparkPlan = frame match {
    case dataset: classic.Dataset[_] => dataset.queryExecution.sparkPlan
    case other => throw new IllegalStateException(s"${other.getClass.getName} has no plan on this JVM")
  }
}
