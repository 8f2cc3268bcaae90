package org.ctmahout.bridge

import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.util.ArrayData

/** Cuts a partition's rows (group, number, values), all of one group, into blocks, checking each row while it is in the processor's cache anyway. */
private[bridge] final class RowBlocks[T](
    rows: Iterator[InternalRow],
    group: MatrixGroup,
    values: Values[T])
    extends Iterator[RowBlock] {

  private val height = RowBlocks.height(group.columns, values.dtype)
  private val builder = new BlockBuilder(group, values, Checksum.weights(group.columns), height, height)

  override def hasNext: Boolean = rows.hasNext

  override def next(): RowBlock = {
    while (!builder.isFull && rows.hasNext) {
      val next = rows.next()
      builder.add(next.getLong(1), next.getArray(2))
    }
    builder.take()
  }
}

/**
 * Rows of a group, put side by side and checked.
 *
 * @param room
 *   rows that there is room for at first; it grows
 * @param height
 *   rows that make a full block
 */
private[bridge] final class BlockBuilder[T](
    val group: MatrixGroup,
    values: Values[T],
    weights: Array[Long],
    room: Int,
    height: Int) {
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

  /** The block so far; the next one starts empty. */
  def take(): RowBlock = {
    val check = RowCheck(count.toLong, checksum, rowNumbers, squaredNorm, bad)
    val taken =
      if (count == numbers.length) new RowBlock(numbers, block, check)
      else new RowBlock(numbers.take(count), values.take(block, count * n), check)
    reset()
    taken
  }

  private def grow(): Unit = {
    val more = math.min(height.toLong, math.max(room.toLong, 2L * count)).toInt
    numbers = java.util.Arrays.copyOf(numbers, more)
    block = values.take(block, more * n)
  }

  private def reset(): Unit = {
    numbers = Array.empty
    block = values.newArray(0)
    count = 0
    checksum = 0
    rowNumbers = 0
    squaredNorm = 0
    bad = None
  }
}

private[bridge] object RowBlocks {
  private val Bytes = 8 << 20

  /** Rows of a block: 8 MB of values, since the engine computes on whole blocks and the store evicts whole blocks. */
  def height(columns: Int, dtype: Dtype): Int =
    math.max(1L, math.min(Bytes.toLong / (dtype.bytes.toLong * columns), MostRows)).toInt

  // Narrow matrices: so many row numbers are as large as the values of a block may be.
  private val MostRows = 1L << 16
}
