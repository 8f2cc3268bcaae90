package org.ctmahout.bridge
package exchange

/** A row that no reader may accept. The order of the kinds is the order of the contract's checks. */
private[bridge] final case class BadRow(row: Long, kind: Int, width: Int) {
  def before(other: BadRow): Boolean = row < other.row || row == other.row && kind < other.kind
}

private[bridge] object BadRow {
  val Width = 0
  val NotFinite = 1
  val Range = 2
}

/** Sums over rows, so that those of blocks and partitions can be merged. */
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
    (bad ++ that.bad).reduceOption((a, b) => if (b.before(a)) b else a)
  )
}

private[bridge] object RowCheck {
  private val empty = RowCheck(0, 0, 0, 0.0, None)

  def sum(checks: Iterator[RowCheck]): RowCheck = checks.foldLeft(empty)(_ merge _)
}
