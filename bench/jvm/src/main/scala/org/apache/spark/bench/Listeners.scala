package org.apache.spark.bench

import org.apache.spark.SparkContext

/** In Spark's package, because what tells that all listeners have heard everything is Spark's own. */
object Listeners {
  def settle(sc: SparkContext): Unit = sc.listenerBus.waitUntilEmpty()
}
