package org.ctmahout.samsara

import scala.collection.mutable.ArrayBuffer
import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.{BCast, CacheHint, CheckpointedDrm, DistributedContext, DistributedEngine}
import org.apache.spark.SparkContext
import org.apache.spark.broadcast.Broadcast
import org.apache.spark.rdd.RDD
import org.apache.spark.storage.StorageLevel

/**
 * A Spark session as Mahout sees it. Works on any SparkContext, with its default serializer, and changes nothing of it.
 *
 * {{{
 * val samsara = new SamsaraContext(sc)
 * try {
 *   val a = samsara.drm(blocks, rows, columns)
 *   val svd = StochasticSvd(a, k = 50, p = 15, q = 1, seed = 0)
 * } finally samsara.close()
 * }}}
 *
 * `close` gives back all that the computations have stored in the session; results that live on the cluster end with it.
 */
final class SamsaraContext(val sparkContext: SparkContext) extends DistributedContext {
  override val engine: DistributedEngine = SparkEngine

  private val stored = ArrayBuffer.empty[RDD[_]]
  private val sent = ArrayBuffer.empty[Broadcast[_]]

  /** What multiplies blocks on this JVM. */
  def blasName: String = Products.blasName

  /**
   * A matrix of Mahout's from blocks of rows.
   *
   * @param blocks
   *   keys and rows, as many of one as of the other in each block: [[DenseBlock]] or [[FloatBlock]] are used as they
   *   are. Each key once. Cached by the caller, if it is read more than once.
   */
  def drm[K: ClassTag](blocks: RDD[(Array[K], Matrix)], rows: Long, columns: Int): CheckpointedDrm[K] =
    new DistributedRows[K](this, new RowBlocks(blocks, None, RowBlocks.newTag(), isStored = true), rows, columns, CacheHint.NONE)

  private[samsara] def store[T](rdd: RDD[T], level: StorageLevel): RDD[T] = synchronized {
    stored += rdd
    rdd.persist(level)
  }

  /** Gives back one of the stored, if it is one: what the caller has cached is the caller's. */
  private[samsara] def release(rdd: RDD[_]): Unit = synchronized {
    if (stored.exists(_ eq rdd)) {
      stored -= rdd
      rdd.unpersist(blocking = false)
    }
  }

  private[samsara] def send(m: DenseBlock): Broadcast[DenseBlock] = send[DenseBlock](m.whole)

  private[samsara] def send[T: ClassTag](value: T): Broadcast[T] = synchronized {
    val b = sparkContext.broadcast(value)
    sent += b
    b
  }

  override def close(): Unit = synchronized {
    stored.foreach(_.unpersist(blocking = false))
    stored.clear()
    sent.foreach(_.destroy())
    sent.clear()
  }
}

private[samsara] final class SparkBroadcast[T](value0: Broadcast[T]) extends BCast[T] with Serializable {
  override def value: T = value0.value
  override def close(): Unit = value0.unpersist()
}
