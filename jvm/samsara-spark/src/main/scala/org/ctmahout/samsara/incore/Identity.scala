package org.ctmahout.samsara
package incore

import org.apache.mahout.math.{AbstractMatrix, Matrix, Vector}
import org.apache.mahout.math.flavor.MatrixFlavor

/** The identity, without an array: [[Products]] recognise it, and anything else can read its values. */
private[samsara] final class Identity(n: Int) extends AbstractMatrix(n, n) {
  override def getQuick(i: Int, j: Int): Double = if (i == j) 1.0 else 0.0
  override def setQuick(i: Int, j: Int, value: Double): Unit = throw new UnsupportedOperationException("it is the identity")
  override def viewPart(start: Array[Int], size: Array[Int]): Matrix = DenseBlock.identity(n).viewPart(start, size)
  override def like(): Matrix = new DenseBlock(n, n)
  override def like(r: Int, c: Int): Matrix = new DenseBlock(r, c)
  override def clone(): Matrix = DenseBlock.identity(n)
  override def getFlavor: MatrixFlavor = MatrixFlavor.DENSELIKE
  override def assignColumn(column: Int, v: Vector): Matrix = throw new UnsupportedOperationException("it is the identity")
  override def assignRow(row: Int, v: Vector): Matrix = throw new UnsupportedOperationException("it is the identity")
}
