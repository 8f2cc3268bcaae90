package org.ctmahout.samsara
package incore

/** Some rows of a block as doubles: row `i` of it stands at `at + i * stride`. */
private final case class Tile(from: Int, rows: Int, data: Array[Double], at: Int, stride: Int)

private object Tile {

  /** As many rows as stay in the second-level cache, but not so few that moving the sums would cost more. */
  def rows(a: Block): Int = math.min(a.rowSize, math.max(128, math.min(256, (1 << 17) / math.max(1, a.columnSize))))

  /** All of a, in place if it is of doubles. A tile is valid until the next. */
  def of(a: Block): Iterator[Tile] = a match {
    case d: DenseBlock => cuts(a).map { case (from, count) => Tile(from, count, d.data, d.offset + from * d.stride, d.stride) }
    case _ => copies(a, a.columnSize)
  }

  /** All of a, with rows exactly `stride` apart. */
  def strided(a: Block, stride: Int): Iterator[Tile] = a match {
    case d: DenseBlock if d.isPaddedTo(stride) => of(d)
    case _ => copies(a, stride)
  }

  private def copies(a: Block, stride: Int): Iterator[Tile] = {
    lazy val copy = new Array[Double](rows(a) * stride)
    cuts(a).map { case (from, count) =>
      a.copyRows(from, count, copy, stride)
      Tile(from, count, copy, 0, stride)
    }
  }

  private def cuts(a: Block): Iterator[(Int, Int)] = cuts(a, math.max(1, rows(a)))

  /** Rows of a sparse block of which the products stay in the cache. */
  val Sparse = 256

  def cuts(a: Block, height: Int): Iterator[(Int, Int)] =
    Iterator.range(0, a.rowSize, height).map(from => (from, math.min(height, a.rowSize - from)))
}
