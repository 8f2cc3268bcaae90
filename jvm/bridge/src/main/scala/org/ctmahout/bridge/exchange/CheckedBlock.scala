package org.ctmahout.bridge
package exchange

/**
 * Rows of a group side by side in one array, and the checks made while they were put there.
 *
 * Plain arrays, so that any serialiser can write them; rows that cannot be in the matrix are in `check` only.
 *
 * @param rows
 *   the row numbers, in the order of the values
 * @param values
 *   row-major, Array[Float] or Array[Double]
 */
private[bridge] final class CheckedBlock(val rows: Array[Long], val values: AnyRef, val check: RowCheck)
    extends Serializable
