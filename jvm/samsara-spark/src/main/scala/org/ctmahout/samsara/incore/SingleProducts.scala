package org.ctmahout.samsara
package incore

/**
 * Products in single precision, on request only, of blocks stored in it: twice as fast. Y = A Z is then a matrix of floats,
 * slightly off; but all that is computed further is computed from that very Y, in double precision or nearly so.
 */
private[samsara] object SingleProducts {

  /** a z where a is of floats: each row comes out with the same bits wherever it is computed. */
  def times(a: Block, z: DenseBlock): Block = a match {
    case floats: FloatBlock if Gemm.instance.hasSingle =>
      val (n, width) = (z.rowSize, SingleKernel.padded(z.columnSize))
      val y = new Array[Float](Math.multiplyExact(floats.rowSize, width))
      multiplyAdd(floats.rowSize, width, n, floats.data, floats.offset, floats.stride, 1, rounded(z, width), y)
      new FloatBlock(floats.rowSize, z.columnSize, y, 0, width)
    case other => Products.times(other, z)
  }

  /** Running sums of y'y and a'y for y = times(a, z). */
  final class SketchSums(z: DenseBlock) extends Products.SketchSums(z) {
    private val wide = SingleKernel.padded(r)
    private lazy val right = rounded(z, wide)
    private lazy val y = new Array[Float](Tall * wide)
    private lazy val cross = new Array[Float](n * wide)

    override def add(a: Block): Unit = a match {
      case floats: FloatBlock if Gemm.instance.hasSingle => for ((from, rows) <- tiles(floats)) addTile(floats, from, rows)
      case other => super.add(other)
    }

    override def times(a: Block): Block = a match {
      case floats: FloatBlock if Gemm.instance.hasSingle =>
        val all = new Array[Float](Math.multiplyExact(a.rowSize, wide))
        for ((from, rows) <- tiles(floats)) {
          addTile(floats, from, rows)
          System.arraycopy(y, 0, all, from * wide, rows * wide)
        }
        new FloatBlock(a.rowSize, r, all, 0, wide)
      case other => super.times(other)
    }

    private def tiles(a: FloatBlock): Iterator[(Int, Int)] = {
      require(a.columnSize == n, "a block of another width than declared")
      Iterator.range(0, a.rowSize, Tall).map(from => (from, math.min(Tall, a.rowSize - from)))
    }

    private def addTile(a: FloatBlock, from: Int, rows: Int): Unit = {
      val at = a.offset + from * a.stride
      java.util.Arrays.fill(y, 0, rows * wide, 0.0f)
      multiplyAdd(rows, wide, n, a.data, at, a.stride, 1, right, y)
      java.util.Arrays.fill(cross, 0.0f)
      multiplyAdd(n, wide, rows, a.data, at, 1, a.stride, y, cross)
      addRows(rows) { (yInDouble, crossInDouble) =>
        addWidened(y, rows, yInDouble)
        addWidened(cross, n, crossInDouble)
      }
    }

    private def addWidened(from: Array[Float], rows: Int, to: Array[Double]): Unit = {
      var i = 0
      while (i < rows) {
        val (f, t) = (i * wide, i * width)
        var j = 0
        while (j < r) { to(t + j) += from(f + j); j += 1 }
        i += 1
      }
    }
  }

  /** Rows that a sum of floats runs over before it is added to one of doubles. */
  private val Tall = 128

  /** C += op(A) B, as [[Gemm.multiplyAdd]] has it, with rows of B and C `width` apart. */
  private def multiplyAdd(
      rows: Int, width: Int, terms: Int,
      a: Array[Float], aAt: Int, aRow: Int, aTerm: Int,
      b: Array[Float],
      c: Array[Float]): Unit =
    SingleKernel.multiplyAdd(rows, width, terms, a, aAt, aRow, aTerm, b, 0, width, c, 0, width, false)

  private def rounded(z: DenseBlock, width: Int): Array[Float] = {
    val all = new Array[Float](z.rowSize * width)
    for (i <- 0 until z.rowSize; j <- 0 until z.columnSize) all(i * width + j) = z.getQuick(i, j).toFloat
    all
  }
}
