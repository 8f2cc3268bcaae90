package org.ctmahout.bridge

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.classic

/** Spark 4: the rows of a query as Spark holds them, whose arrays give primitive ones without boxing. */
private[bridge] object SparkRows {
  def of(frame: DataFrame): RDD[InternalRow] = frame match {
    case dataset: classic.Dataset[_] => dataset.queryExecution.toRdd
    case other => throw new IllegalStateException(s"${other.getClass.getName} has no rows on this JVM")
  }
}
