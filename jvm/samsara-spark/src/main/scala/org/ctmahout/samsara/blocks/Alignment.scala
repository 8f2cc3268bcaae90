package org.ctmahout.samsara
package blocks

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.incore.Products

/** Blocks of the same rows that may be cut differently. */
private[samsara] object Alignment {

  /** Both cut where either is. */
  def zip[K, L](x: Iterator[(Array[K], Matrix)], y: Iterator[(Array[L], Matrix)])
      : Iterator[((Array[K], Matrix), (Array[L], Matrix))] =
    new Iterator[((Array[K], Matrix), (Array[L], Matrix))] {
      private val (left, right) = (new Cutter(x), new Cutter(y))
      override def hasNext: Boolean = {
        if (left.rest != 0 != (right.rest != 0))
          throw new IllegalArgumentException(
            "two matrices are said to be partitioned identically and are not: a block function has changed the number of rows")
        left.rest != 0
      }
      override def next(): ((Array[K], Matrix), (Array[L], Matrix)) = {
        if (!hasNext) Iterator.empty.next()
        val rows = math.min(left.rest, right.rest)
        (left.take(rows), right.take(rows))
      }
    }

  /** Blocks of at most so many rows. */
  def cut[K](block: (Array[K], Matrix), height: Int): Iterator[(Array[K], Matrix)] =
    if (block._2.rowSize <= height) Iterator.single(block)
    else {
      val dense = (block._1, Products.block(block._2): Matrix)
      Iterator.range(0, dense._2.rowSize, height).map(from => slice(dense, from, math.min(height, dense._2.rowSize - from)))
    }

  private def slice[K](block: (Array[K], Matrix), from: Int, rows: Int): (Array[K], Matrix) =
    if (from == 0 && rows == block._2.rowSize) block
    else {
      val (keys, m) = block
      (keys.slice(from, from + rows), Products.block(m).viewPart(from, rows, 0, m.columnSize))
    }

  private final class Cutter[K](blocks: Iterator[(Array[K], Matrix)]) {
    private var now: Option[(Array[K], Matrix)] = None
    private var at = 0

    /** Rows left in the block at hand; 0 at the end. */
    def rest: Int = {
      while (now.forall(_._2.rowSize == at) && blocks.hasNext) {
        now = Some(blocks.next())
        at = 0
      }
      now.fold(0)(_._2.rowSize - at)
    }
    def take(rows: Int): (Array[K], Matrix) = {
      val taken = slice(now.get, at, rows)
      at += rows
      taken
    }
  }
}
