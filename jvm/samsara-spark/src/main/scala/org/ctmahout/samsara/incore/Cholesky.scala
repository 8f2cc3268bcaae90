package org.ctmahout.samsara
package incore

import scala.collection.mutable.ArrayBuffer

import org.apache.mahout.math.CholeskyDecomposition

/** G = R'R for a Gram matrix on the driver, R upper triangular. */
private[samsara] object Cholesky {

  /** Mahout's Cholesky takes 1e-10 of the largest entry of a column for zero, and rounds differently from ours: this is beyond both. */
  private val BeyondDoubt = 1e-8

  /** R, or None where G is not positive definite in floating point. */
  def apply(gram: DenseBlock): Option[DenseBlock] = factor(gram, zero = 0.0, rounding = 0.0)

  /** R of the largest leading part of G that is positive definite in floating point, which may be 0 x 0. */
  def leading(gram: DenseBlock): DenseBlock = {
    val (r, k) = factored(gram, zero = 0.0, rounding = 0.0)
    new DenseBlock(k, k, r, 0, gram.rowSize).whole
  }

  /** Whether Mahout's decomposition will call a G of finite values positive definite; in doubt it is run. */
  def isFineForMahout(gram: DenseBlock): Boolean =
    factor(gram, BeyondDoubt, rounding = BeyondDoubt).isDefined || new CholeskyDecomposition(gram, false).isPositiveDefinite

  /**
   * Rows of an R with R'R = G, as many as G has independent columns: the longest column first, then in each step the one
   * with the largest remainder. A column with no more left than the rounding of its own length depends on those before.
   */
  def independentRows(gram: DenseBlock): Seq[Array[Double]] = {
    val n = gram.rowSize
    val left = Array.tabulate(n)(i => gram.getQuick(i, i))
    val rows = ArrayBuffer.empty[Array[Double]]
    def isThere(j: Int) = left(j) > 4 * n * math.ulp(1.0) * gram.getQuick(j, j)
    var there = left.indices.filter(isThere)
    while (there.nonEmpty) {
      val pivot = there.maxBy(left(_))
      val row = Array.tabulate(n)(j => gram.getQuick(pivot, j))
      for (above <- rows) addScaled(row, 0, above, 0, -above(pivot), 0, n)
      val root = math.sqrt(left(pivot))
      for (j <- 0 until n) {
        row(j) = if (j == pivot) root else row(j) / root
        left(j) -= row(j) * row(j)
      }
      left(pivot) = 0.0
      rows += row
      there = there.filter(isThere)
    }
    rows.toSeq
  }

  /** R^-1 for an upper triangular R with a diagonal of no zeros. */
  def inverse(r: DenseBlock): DenseBlock = {
    val n = r.rowSize
    val (from, to) = (r.whole.data, new Array[Double](n * n))
    var i = n - 1
    while (i >= 0) {
      // Row i of R R^-1 = I, solved for row i of R^-1; the rows below are known.
      to(i * n + i) = 1.0
      var l = i + 1
      while (l < n) {
        addScaled(to, i * n, to, l * n, -from(i * n + l), l, n)
        l += 1
      }
      val pivot = from(i * n + i)
      var j = i
      while (j < n) { to(i * n + j) /= pivot; j += 1 }
      i -= 1
    }
    new DenseBlock(n, n, to)
  }

  /** None where a pivot is not more than these shares, of the largest entry of its column and of its own diagonal element. */
  private def factor(gram: DenseBlock, zero: Double, rounding: Double): Option[DenseBlock] = {
    val (r, k) = factored(gram, zero, rounding)
    if (k == gram.rowSize) Some(new DenseBlock(k, k, r)) else None
  }

  /** Rows of R, and how many of them there are before such a pivot. */
  private def factored(gram: DenseBlock, zero: Double, rounding: Double): (Array[Double], Int) = {
    val n = gram.rowSize
    val r = gram.toArray
    var k = 0
    var isPositive = true
    while (k < n && isPositive) {
      val pivot = r(k * n + k)
      var largest = 0.0
      var j = k
      while (j < n) { largest = math.max(largest, math.abs(r(k * n + j))); j += 1 }
      if (!(pivot > zero * largest && pivot > rounding * gram.getQuick(k, k))) isPositive = false
      else {
        val root = math.sqrt(pivot)
        j = k
        while (j < n) { r(k * n + j) /= root; j += 1 }
        var i = k + 1
        while (i < n) {
          addScaled(r, i * n, r, k * n, -r(k * n + i), i, n)
          java.util.Arrays.fill(r, i * n, i * n + i, 0.0)
          i += 1
        }
        k += 1
      }
    }
    (r, k)
  }

  /** Adds a multiple of one row to another, from a column on. */
  private def addScaled(a: Array[Double], to: Int, b: Array[Double], from: Int, factor: Double, column: Int, n: Int): Unit = {
    var j = column
    while (j < n) { a(to + j) += factor * b(from + j); j += 1 }
  }
}
