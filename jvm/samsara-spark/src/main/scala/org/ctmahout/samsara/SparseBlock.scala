package org.ctmahout.samsara

import com.esotericsoftware.kryo.DefaultSerializer

/**
 * Rows of which only the nonzero values are kept; with one row subtracted from all of them, if `less` is given.
 *
 * Row i of the block has `values(e)` in the columns `indices(e)`, ascending, for e from `starts(from + i)` up to but not including
 * `starts(from + i + 1)`. Immutable.
 *
 * @param less
 *   a row subtracted from each, or null: so a centred matrix needs no copy, and stays sparse
 */
@DefaultSerializer(classOf[KryoBlocks])
final class SparseBlock private[samsara] (
    m: Int, n: Int, val from: Int, val starts: Array[Int], val indices: Array[Int], val values: Array[Double], val less: Array[Double])
    extends Block(m, n, 0, n)
    with Serializable {

  require(m >= 0 && from >= 0 && from + m < starts.length, s"$m rows from $from on of ${starts.length - 1}")

  def this(m: Int, n: Int, starts: Array[Int], indices: Array[Int], values: Array[Double]) = this(m, n, 0, starts, indices, values, null)

  // There is no array of rows that a product could use as it is.
  override protected def length: Int = 0

  /** The same with a row subtracted. */
  private[samsara] def minus(row: Array[Double]): SparseBlock = {
    val sum = if (less eq null) row else Array.tabulate(n)(j => less(j) + row(j))
    new SparseBlock(m, n, from, starts, indices, values, sum)
  }

  override def getQuick(i: Int, j: Int): Double = {
    val at = java.util.Arrays.binarySearch(indices, starts(from + i), starts(from + i + 1), j)
    (if (at >= 0) values(at) else 0.0) - (if (less eq null) 0.0 else less(j))
  }
  override def setQuick(i: Int, j: Int, value: Double): Unit = throw new UnsupportedOperationException("a sparse block does not change")

  override def copyRows(first: Int, count: Int, into: Array[Double], width: Int): Unit =
    for (i <- 0 until count) {
      val at = i * width
      if (less eq null) java.util.Arrays.fill(into, at, at + n, 0.0)
      else for (j <- 0 until n) into(at + j) = -less(j)
      var e = starts(from + first + i)
      while (e < starts(from + first + i + 1)) { into(at + indices(e)) += values(e); e += 1 }
    }

  override private[samsara] def copied: Block = this

  override protected def window(r: Int, rs: Int, c: Int, cs: Int): Block =
    if (c == 0 && cs == n) new SparseBlock(rs, n, from + r, starts, indices, values, less)
    else {
      val rows = new Array[Double](Math.multiplyExact(rs, n))
      copyRows(r, rs, rows, n)
      new DenseBlock(rs, cs, rows, c, n)
    }

  /** The same with arrays of exactly its size. */
  private[samsara] def whole: SparseBlock =
    if (from == 0 && m == starts.length - 1) this
    else {
      val (first, last) = (starts(from), starts(from + m))
      val moved = Array.tabulate(m + 1)(i => starts(from + i) - first)
      new SparseBlock(m, n, 0, moved, indices.slice(first, last), values.slice(first, last), less)
    }

  private def writeReplace(): AnyRef = { val w = whole; new PackedSparseBlock(m, n, w.starts, w.indices, w.values, w.less) }
}

private final class PackedSparseBlock(m: Int, n: Int, starts: Array[Int], indices: Array[Int], values: Array[Double], less: Array[Double])
    extends Serializable {
  private def readResolve(): AnyRef = new SparseBlock(m, n, 0, starts, indices, values, less)
}
