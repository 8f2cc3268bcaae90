package org.ctmahout.bridge

import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName
import org.apache.spark.sql.catalyst.util.ArrayData
import org.apache.spark.sql.types.{DataType, DoubleType, FloatType}

/** Element type of a matrix, and of its U. */
private[bridge] sealed abstract class Dtype(
    val name: String,
    val bytes: Int,
    val parquet: PrimitiveTypeName,
    val sql: DataType)
    extends Serializable

private[bridge] object Dtype {
  case object Float32 extends Dtype("float32", 4, PrimitiveTypeName.FLOAT, FloatType)
  case object Float64 extends Dtype("float64", 8, PrimitiveTypeName.DOUBLE, DoubleType)

  val all: Seq[Dtype] = Seq(Float32, Float64)
}

/** What is done with the values of a row, for both element types: written out twice because generic code would box. */
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
      // Two sums, because one would wait four cycles for itself at each value.
      var even, odd = 0.0
      var j = 0
      while (j + 1 < values.length) {
        val x = values(j).toDouble
        val y = values(j + 1).toDouble
        even += x * x
        odd += y * y
        j += 2
      }
      if (j < values.length) even += values(j).toDouble * values(j)
      even + odd
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
      var even, odd = 0.0
      var j = 0
      while (j + 1 < values.length) {
        val x = values(j)
        val y = values(j + 1)
        even += x * x
        odd += y * y
        j += 2
      }
      if (j < values.length) even += values(j) * values(j)
      even + odd
    }

    override def allFinite(values: Array[Double]): Boolean = {
      var j = 0
      while (j < values.length && java.lang.Double.isFinite(values(j))) j += 1
      j == values.length
    }
  }
}
