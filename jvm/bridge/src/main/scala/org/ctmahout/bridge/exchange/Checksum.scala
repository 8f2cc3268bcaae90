package org.ctmahout.bridge
package exchange

/**
 * The checksum of a group (contract/v1/README.md): 64-bit arithmetic modulo 2^64, a sum over rows, so it depends
 * neither on the order of rows nor on files, and partial sums of partitions simply add up.
 */
private[bridge] object Checksum {
  private val Golden = 0x9e3779b97f4a7c15L

  /** The finaliser of SplitMix64. */
  def mix(value: Long): Long = {
    var x = value
    x ^= x >>> 30
    x *= 0xbf58476d1ce4e5b9L
    x ^= x >>> 27
    x *= 0x94d049bb133111ebL
    x ^ (x >>> 31)
  }

  /** What the number of a row adds to its hash. */
  def ofRowNumber(row: Long): Long = mix((row + 1) * Golden)

  /** The weights w_j of columns 0 until n. */
  def weights(n: Int): Array[Long] = Array.tabulate(n)(j => mix((j + 1L) * Golden) | 1L)

  def ofRow(row: Long, values: Array[Float], weights: Array[Long]): Long = {
    var sum = ofRowNumber(row)
    var j = 0
    while (j < weights.length) {
      // The pattern is unsigned: without the mask a negative number would borrow from the upper half.
      sum += weights(j) * (java.lang.Float.floatToRawIntBits(values(j)) & 0xffffffffL)
      j += 1
    }
    mix(sum)
  }

  def ofRow(row: Long, values: Array[Double], weights: Array[Long]): Long = {
    var sum = ofRowNumber(row)
    var j = 0
    while (j < weights.length) {
      sum += weights(j) * java.lang.Double.doubleToRawLongBits(values(j))
      j += 1
    }
    mix(sum)
  }

  /** The sum of ofRowNumber over rows 0 until rows: what a group's rows must add up to if each is there once. */
  def ofRowNumbers(rows: Long): Long = {
    var sum = 0L
    var row = 0L
    while (row < rows) {
      sum += ofRowNumber(row)
      row += 1
    }
    sum
  }

  def hex(checksum: Long): String = f"$checksum%016x"
}
