package org.ctmahout.bridge
package exchange

import org.ctmahout.bridge.SparkInternals.ArrayData

/** Operations on the values of a row, for both element types: written out twice because generic code would box. */
private[bridge] sealed abstract class Values[T](val dtype: Dtype) extends Serializable {
  def of(array: ArrayData): Array[T]
  def newArray(n: Int): Array[T]
  def take(values: Array[T], n: Int): Array[T]
  def checksum(row: Long, values: Array[T], weights: Array[Long]): Long

  /** Sum of squares; not finite if a value is not, or if it is too large to be squared. */
  def squaredNorm(values: Array[T]): Double
  def allFinite(values: Array[T]): Boolean
}

private[bridge] object Values {
  object Floats extends Values[Float](Dtype.Float32) {
    override def of(array: ArrayData): Array[Float] = array.toFloatArray()
    override def newArray(n: Int): Array[Float] = new Array[Float](n)
    override def take(values: Array[Float], n: Int): Array[Float] = java.util.Arrays.copyOf(values, n)

    override def checksum(row: Long, values: Array[Float], weights: Array[Long]): Long =
      Checksum.ofRow(row, values, weights)

    override def squaredNorm(values: Array[Float]): Double = {
      // Four sums, since each addition would wait four cycles for the one before.
      var s0, s1, s2, s3 = 0.0
      val whole = values.length & ~3
      var j = 0
      while (j < whole) {
        val x0 = values(j).toDouble
        val x1 = values(j + 1).toDouble
        val x2 = values(j + 2).toDouble
        val x3 = values(j + 3).toDouble
        s0 += x0 * x0
        s1 += x1 * x1
        s2 += x2 * x2
        s3 += x3 * x3
        j += 4
      }
      while (j < values.length) { s0 += values(j).toDouble * values(j); j += 1 }
      (s0 + s1) + (s2 + s3)
    }

    override def allFinite(values: Array[Float]): Boolean = {
      var j = 0
      while (j < values.length && java.lang.Float.isFinite(values(j))) j += 1
      j == values.length
    }
  }

  object Doubles extends Values[Double](Dtype.Float64) {
    override def of(array: ArrayData): Array[Double] = array.toDoubleArray()
    override def newArray(n: Int): Array[Double] = new Array[Double](n)
    override def take(values: Array[Double], n: Int): Array[Double] = java.util.Arrays.copyOf(values, n)

    override def checksum(row: Long, values: Array[Double], weights: Array[Long]): Long =
      Checksum.ofRow(row, values, weights)

    override def squaredNorm(values: Array[Double]): Double = {
      var s0, s1, s2, s3 = 0.0
      val whole = values.length & ~3
      var j = 0
      while (j < whole) {
        val x0 = values(j)
        val x1 = values(j + 1)
        val x2 = values(j + 2)
        val x3 = values(j + 3)
        s0 += x0 * x0
        s1 += x1 * x1
        s2 += x2 * x2
        s3 += x3 * x3
        j += 4
      }
      while (j < values.length) { s0 += values(j) * values(j); j += 1 }
      (s0 + s1) + (s2 + s3)
    }

    override def allFinite(values: Array[Double]): Boolean = {
      var j = 0
      while (j < values.length && java.lang.Double.isFinite(values(j))) j += 1
      j == values.length
    }
  }
}
