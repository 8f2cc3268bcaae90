package org.ctmahout.bridge
package exchange

import org.ctmahout.bridge.SparkInternals.InternalRow

/**
 * Cuts a partition's rows (group, number, values), all of one group, into blocks, checking each row while it is in the
 * processor's cache anyway.
 *
 * @param lasting
 *   whether the values of a block may be kept; else those of the next overwrite them
 */
private[bridge] final class CheckedBlocks[T](
    rows: Iterator[InternalRow],
    group: MatrixGroup,
    values: Values[T],
    lasting: Boolean)
    extends Iterator[CheckedBlock] {

  private val height = BlockBuilder.height(group.columns, values.dtype)
  private val builder = new BlockBuilder(group, values, Checksum.weights(group.columns), height, height, lasting)

  override def hasNext: Boolean = rows.hasNext

  override def next(): CheckedBlock = {
    while (!builder.isFull && rows.hasNext) {
      val next = rows.next()
      builder.add(next.getLong(1), next.getArray(2))
    }
    builder.take()
  }
}
