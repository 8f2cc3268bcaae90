package org.ctmahout.bridge

import org.apache.spark.sql.catalyst.InternalRow

/**
 * Rows of a group side by side in one array, and what was seen while they were put there.
 *
 * Plain arrays, so that any serialiser will do; rows that cannot be in the matrix are in `check` only.
 *
 * @param rows
 *   the row numbers, in the order of the values
 * @param values
 *   row-major, Array[Float] or Array[Double]
 */
private[bridge] final class RowBlock(val rows: Array[Long], val values: AnyRef, val check: RowCheck)
    extends Serializable

/** A row that no reader may accept. The order of the kinds is the order of the contract's checks. */
private[bridge] final case class BadRow(row: Long, kind: Int, width: Int) {
  def before(other: BadRow): Boolean = row < other.row || row == other.row && kind < other.kind
}

private[bridge] object BadRow {
  val Width = 0
  val NotFinite = 1
  val Range = 2
}

/** What the rows seen so far add up to. Sums, so those of blocks and partitions can be merged. */
private[bridge] final case class RowCheck(
    count: Long,
    checksum: Long,
    rowNumbers: Long,
    squaredNorm: Double,
    bad: Option[BadRow]) {

  def merge(that: RowCheck): RowCheck = RowCheck(
    count + that.count,
    checksum + that.checksum,
    rowNumbers + that.rowNumbers,
    squaredNorm + that.squaredNorm,
    (bad ++ that.bad).reduceOption((a, b) => if (b.before(a)) b else a))
}

private[bridge] object RowCheck {
  private val empty = RowCheck(0, 0, 0, 0.0, None)

  def sum(checks: Iterator[RowCheck]): RowCheck = checks.foldLeft(empty)(_ merge _)
}

/** Cuts a partition's rows into blocks, checking each row while it is in the processor's cache anyway. */
private[bridge] final class RowBlocks[T](
    rows: Iterator[InternalRow],
    group: MatrixGroup,
    values: Values[T])
    extends Iterator[RowBlock] {

  private val n = group.columns
  private val weights = Checksum.weights(n)
  private val height = RowBlocks.height(n, values.dtype)

  override def hasNext: Boolean = rows.hasNext

  override def next(): RowBlock = {
    val numbers = new Array[Long](height)
    val block = values.newArray(height * n)
    var count = 0
    var checksum, rowNumbers = 0L
    var squaredNorm = 0.0
    var bad: Option[BadRow] = None
    while (count < height && rows.hasNext) {
      val next = rows.next()
      val row = next.getLong(0)
      val a = values.of(next.getArray(1))
      val square = values.squaredNorm(a)
      val kind =
        if (a.length != n) BadRow.Width
        // An infinite square may also come from a finite value beyond 1e154.
        else if (!java.lang.Double.isFinite(square) && !values.allFinite(a)) BadRow.NotFinite
        else if (row < 0 || row >= group.rows) BadRow.Range
        else -1
      if (kind < 0) {
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
    val check = RowCheck(count.toLong, checksum, rowNumbers, squaredNorm, bad)
    if (count == height) new RowBlock(numbers, block, check)
    else new RowBlock(numbers.take(count), values.take(block, count * n), check)
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
