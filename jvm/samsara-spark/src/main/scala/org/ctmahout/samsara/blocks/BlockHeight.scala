package org.ctmahout.samsara
package blocks

/** How many rows go into a block of the engine's own making. */
private[samsara] object BlockHeight {
  private val BlockBytes = 8L << 20
  def of(columns: Int): Int = math.max(1L, math.min(1L << 16, BlockBytes / (8L * math.max(1, columns)))).toInt
}
