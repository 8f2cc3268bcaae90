package org.ctmahout.samsara
package incore

/**
 * Products of sparse blocks with small dense matrices, whose rows are `width` apart: `width` multiplications for each value. The
 * row subtracted from all rows of a block is left out.
 */
private[samsara] object SparseProducts {
  private def gemm: Gemm = Gemm.instance

  /** y += a z for some rows of a. */
  def timesAdd(a: SparseBlock, first: Int, count: Int, z: Array[Double], width: Int, y: Array[Double]): Unit = {
    var i = 0
    while (i < count) {
      val row = a.from + first + i
      gemm.addSparseTimes(a.values, a.indices, a.starts(row), a.starts(row + 1), z, y, i * width, width)
      i += 1
    }
  }

  /** c += a'y for some rows of a, and as many of y. */
  def crossAdd(a: SparseBlock, first: Int, count: Int, y: Array[Double], at: Int, width: Int, c: Array[Double]): Unit = {
    var i = 0
    while (i < count) {
      var e = a.starts(a.from + first + i)
      val end = a.starts(a.from + first + i + 1)
      while (e < end) { gemm.addMultiple(a.values(e), y, at + i * width, c, a.indices(e) * width, width); e += 1 }
      i += 1
    }
  }

  /** row' z, for a row as long as z has rows. */
  def rowTimes(row: Array[Double], z: Array[Double], width: Int): Array[Double] = {
    val out = new Array[Double](width)
    for (j <- row.indices) gemm.addMultiple(row(j), z, j * width, out, 0, width)
    out
  }

  /** Subtracts one row from `count` rows of y. */
  def subtract(row: Array[Double], y: Array[Double], count: Int): Unit =
    for (i <- 0 until count) gemm.addMultiple(-1.0, row, 0, y, i * row.length, row.length)

  /** Adds `count` rows of y, from `at` on, to a sum. */
  def addRows(y: Array[Double], at: Int, count: Int, sum: Array[Double]): Unit =
    for (i <- 0 until count) gemm.addMultiple(1.0, y, at + i * sum.length, sum, 0, sum.length)

  /** c -= column row'. */
  def subtractOuter(column: Array[Double], row: Array[Double], c: Array[Double]): Unit =
    for (j <- column.indices) gemm.addMultiple(-column(j), row, 0, c, j * row.length, row.length)
}
