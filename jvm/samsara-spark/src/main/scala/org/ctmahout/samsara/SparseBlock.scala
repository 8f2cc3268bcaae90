package org.ctmahout.samsara

import com.esotericsoftware.kryo.DefaultSerializer

/**
 * Rows of which only what is not zero is kept; less one and the same row, if there is one.
 *
 * Row i of the block has `values(e)` in the columns `places(e)`, ascending, for e from `starts(from + i)` to `starts(from + i + 1)`,
 * without that one. Nothing of it changes.
 *
 * @param less
 *   a row that is taken off each, or null: so a matrix less its means needs no copy, and stays sparse
 */
@DefaultSerializer(classOf[KryoBlocks])
final class SparseBlock private[samsara] (
    m: Int, n: Int, val from: Int, val starts: Array[Int], val places: Array[Int], val values: Array[Double], val less: Array[Double])
    extends Block(m, n, 0, n)
    with Serializable {

  require(m >= 0 && from >= 0 && from + m < starts.length, s"$m rows from $from on of ${starts.length - 1}")

  def this(m: Int, n: Int, starts: Array[Int], places: Array[Int], values: Array[Double]) = this(m, n, 0, starts, places, values, null)

  // Never an array of rows that a product could use as it is.
  override protected def length: Int = 0

  /** The same less a row. */
  private[samsara] def minus(row: Array[Double]): SparseBlock = {
    val sum = if (less eq null) row else Array.tabulate(n)(j => less(j) + row(j))
    new SparseBlock(m, n, from, starts, places, values, sum)
  }

  override def getQuick(i: Int, j: Int): Double = {
    val at = java.util.Arrays.binarySearch(places, starts(from + i), starts(from + i + 1), j)
    (if (at >= 0) values(at) else 0.0) - (if (less eq null) 0.0 else less(j))
  }
  override def setQuick(i: Int, j: Int, value: Double): Unit = throw new UnsupportedOperationException("a sparse block does not change")

  override def copyRows(first: Int, count: Int, into: Array[Double], width: Int): Unit =
    for (i <- 0 until count) {
      val at = i * width
      if (less eq null) java.util.Arrays.fill(into, at, at + n, 0.0)
      else for (j <- 0 until n) into(at + j) = -less(j)
      var e = starts(from + first + i)
      while (e < starts(from + first + i + 1)) { into(at + places(e)) += values(e); e += 1 }
    }

  override private[samsara] def copied: Block = this

  override protected def window(r: Int, rs: Int, c: Int, cs: Int): Block =
    if (c == 0 && cs == n) new SparseBlock(rs, n, from + r, starts, places, values, less)
    else {
      val rows = new Array[Double](Math.multiplyExact(rs, n))
      copyRows(r, rs, rows, n)
      new DenseBlock(rs, cs, rows, c, n)
    }

  /** This with arrays of its own size. */
  private[samsara] def whole: SparseBlock =
    if (from == 0 && m == starts.length - 1) this
    else {
      val (first, last) = (starts(from), starts(from + m))
      val moved = Array.tabulate(m + 1)(i => starts(from + i) - first)
      new SparseBlock(m, n, 0, moved, places.slice(first, last), values.slice(first, last), less)
    }

  private def writeReplace(): AnyRef = { val w = whole; new PackedSparseBlock(m, n, w.starts, w.places, w.values, w.less) }
}

private final class PackedSparseBlock(m: Int, n: Int, starts: Array[Int], places: Array[Int], values: Array[Double], less: Array[Double])
    extends Serializable {
  private def readResolve(): AnyRef = new SparseBlock(m, n, 0, starts, places, values, less)
}

/**
 * Products of sparse blocks with small dense matrices, whose rows lie `width` apart: as many additions as there are values, times
 * `width`. What is taken off each row is no part of them.
 */
private[samsara] object SparseProducts {

  /** y += a z for some rows of a. */
  def timesAdd(a: SparseBlock, first: Int, count: Int, z: Array[Double], width: Int, y: Array[Double]): Unit = {
    var i = 0
    while (i < count) {
      var e = a.starts(a.from + first + i)
      val end = a.starts(a.from + first + i + 1)
      while (e < end) { axpy(a.values(e), z, a.places(e) * width, y, i * width, width); e += 1 }
      i += 1
    }
  }

  /** c += a'y for some rows of a, and as many of y. */
  def crossAdd(a: SparseBlock, first: Int, count: Int, y: Array[Double], at: Int, width: Int, c: Array[Double]): Unit = {
    var i = 0
    while (i < count) {
      var e = a.starts(a.from + first + i)
      val end = a.starts(a.from + first + i + 1)
      while (e < end) { axpy(a.values(e), y, at + i * width, c, a.places(e) * width, width); e += 1 }
      i += 1
    }
  }

  /** row' z, for a row as long as z has rows. */
  def rowTimes(row: Array[Double], z: Array[Double], width: Int): Array[Double] = {
    val out = new Array[Double](width)
    for (j <- row.indices) axpy(row(j), z, j * width, out, 0, width)
    out
  }

  /** Takes one row off `count` of y. */
  def subtract(row: Array[Double], y: Array[Double], count: Int): Unit =
    for (i <- 0 until count) axpy(-1.0, row, 0, y, i * row.length, row.length)

  /** Adds `count` rows of y, from `at` on, to a sum. */
  def addRows(y: Array[Double], at: Int, count: Int, sum: Array[Double]): Unit =
    for (i <- 0 until count) axpy(1.0, y, at + i * sum.length, sum, 0, sum.length)

  /** c -= column row'. */
  def subtractOuter(column: Array[Double], row: Array[Double], c: Array[Double]): Unit =
    for (j <- column.indices) axpy(-column(j), row, 0, c, j * row.length, row.length)

  private def axpy(x: Double, from: Array[Double], at: Int, to: Array[Double], into: Int, n: Int): Unit = {
    var j = 0
    while (j < n) { to(into + j) += x * from(at + j); j += 1 }
  }
}
