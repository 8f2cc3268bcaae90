package org.ctmahout.samsara

import java.lang.invoke.SerializedLambda

import scala.reflect.ClassTag

import org.apache.mahout.math.{DenseVector, Vector}
import org.apache.mahout.math.drm.{BCast, BlockMapFunc}

/**
 * The block function of Mahout's dqrThin, which solves Q L' = Y for Q row by row, in every block anew.
 *
 * It multiplies each row by one and the same matrix T = (L')^-1. So T is what the function makes of the identity, and the
 * engine can carry it as a factor. A function that is not recognised is run as it is, with the same result, more slowly.
 */
private[samsara] object TriangularSolve {
  private val Owner = "org/apache/mahout/math/decompositions/DQR$"
  private val Method = "dqrThin"

  def of[S, R](f: BlockMapFunc[S, R], keys: ClassTag[S], n: Int): Option[DenseBlock] =
    if (isDqrThin(f)) Some(Products.dense(f((keys.newArray(0), DenseBlock.identity(n)))._2)) else None

  /** Scala closures are Java lambdas; what one serialises to names the method that holds its body. */
  private def isDqrThin(f: AnyRef): Boolean =
    try {
      val method = f.getClass.getDeclaredMethod("writeReplace")
      method.setAccessible(true)
      method.invoke(f) match {
        case lambda: SerializedLambda => lambda.getImplClass == Owner && lambda.getImplMethodName.contains(Method)
        case _ => false
      }
    } catch { case _: ReflectiveOperationException | _: RuntimeException => false }
}

/** A function of one value, applied to each of a block. */
private[samsara] object Elementwise {
  def apply[K](f: Double => Double): BlockMapFunc[K, K] = { case (keys, m) =>
    val out = new DenseBlock(m.rowSize, m.columnSize, Products.block(m).toArray)
    var i = 0
    while (i < out.data.length) { out.data(i) = f(out.data(i)); i += 1 }
    (keys, out)
  }
}

/** Mahout's vectors are not Java-serialisable; their values are. */
private[samsara] final class VectorBroadcast(values: BCast[Array[Double]]) extends BCast[Vector] with Serializable {
  @transient private lazy val vector: Vector = new DenseVector(values.value, true)
  override def value: Vector = vector
  override def close(): Unit = values.close()
}
