package org.ctmahout.samsara
package blocks

import org.apache.mahout.math.{DenseVector, Vector}
import org.apache.mahout.math.drm.BCast
import org.apache.spark.broadcast.Broadcast

/** Mahout's vectors are not Java-serialisable; their values are. */
private[samsara] final class VectorBroadcast(values: BCast[Array[Double]]) extends BCast[Vector] with Serializable {
  @transient private lazy val vector: Vector = new DenseVector(values.value, true)
  override def value: Vector = vector
  override def close(): Unit = values.close()
}

private[samsara] final class SparkBroadcast[T](sent: Broadcast[T]) extends BCast[T] with Serializable {
  override def value: T = sent.value
  override def close(): Unit = sent.unpersist()
}

private[samsara] final class LocalValue[T](override val value: T) extends BCast[T] {
  override def close(): Unit = ()
}
