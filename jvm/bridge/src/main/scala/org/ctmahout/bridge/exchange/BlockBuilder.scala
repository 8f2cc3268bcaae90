package org.ctmahout.bridge
package exchange

import org.ctmahout.bridge.SparkInternals.ArrayData

/**
 * Rows of a group, put side by side and checked.
 *
 * @param room
 *   rows that there is room for at first; it grows
 * @param height
 *   rows that make a full block
 * @param lasting
 *   whether blocks keep their values when the next is built
 */
private[bridge] final class BlockBuilder[T](
    val group: MatrixGroup,
    values: Values[T],
    weights: Array[Long],
    room: Int,
    height: Int,
    lasting: Boolean) {
  private val n = group.columns
  private var numbers = Array.empty[Long]
  private var block = values.newArray(0)
  private var count = 0
  private var checksum, rowNumbers = 0L
  private var squaredNorm = 0.0
  private var bad: Option[BadRow] = None

  def isFull: Boolean = count == height

  /** Rows and bad rows since the last block. */
  def isEmpty: Boolean = count == 0 && bad.isEmpty

  def add(row: Long, array: ArrayData): Unit = {
    val a = values.of(array)
    val square = values.squaredNorm(a)
    val kind =
      if (a.length != n) BadRow.Width
      // An infinite square may also come from a finite value beyond 1e154.
      else if (!java.lang.Double.isFinite(square) && !values.allFinite(a)) BadRow.NotFinite
      else if (row < 0 || row >= group.rows) BadRow.Range
      else -1
    if (kind < 0) {
      if (count == numbers.length) grow()
      System.arraycopy(a, 0, block, count * n, n)
      numbers(count) = row
      count += 1
      checksum += values.checksum(row, a, weights)
      rowNumbers += Checksum.ofRowNumber(row)
      squaredNorm += square
    } else {
      val here = BadRow(row, kind, a.length)
      if (bad.forall(here.before)) bad = Some(here)
    }
  }

  /** The block so far; the next one starts without rows. */
  def take(): CheckedBlock = {
    val check = RowCheck(count.toLong, checksum, rowNumbers, squaredNorm, bad)
    val taken =
      if (count == numbers.length) new CheckedBlock(numbers, block, check)
      else new CheckedBlock(numbers.take(count), values.take(block, count * n), check)
    reset()
    taken
  }

  private def grow(): Unit = {
    val more = math.min(height.toLong, math.max(room.toLong, 2L * count)).toInt
    numbers = java.util.Arrays.copyOf(numbers, more)
    if (block.length < more * n) block = values.take(block, more * n)
  }

  private def reset(): Unit = {
    numbers = Array.empty
    if (lasting) block = values.newArray(0)
    count = 0
    checksum = 0
    rowNumbers = 0
    squaredNorm = 0
    bad = None
  }
}

private[bridge] object BlockBuilder {

  // Small enough to be still in the processor's cache when it is multiplied.
  private val Bytes = 1 << 20

  // More for wide matrices, since products take so many rows at a time; but not for the widest.
  private val Tile = 256
  private val MostBytes = 8 << 20

  // For narrow matrices: so many row numbers take as much memory as the values of a block may.
  private val MostRows = 1 << 16

  /** Rows of a block. */
  def height(columns: Int, dtype: Dtype): Int = {
    def rows(bytes: Int) = bytes / (dtype.bytes.toLong * columns)
    math.max(1L, math.min(math.min(MostRows.toLong, rows(MostBytes)), math.max(Tile.toLong, rows(Bytes)))).toInt
  }
}
