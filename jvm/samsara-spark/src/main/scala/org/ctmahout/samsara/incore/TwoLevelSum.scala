package org.ctmahout.samsara
package incore

/** A running sum in two levels: rounding grows with the number of terms that one sum takes. */
private final class TwoLevelSum(length: Int) {
  private val isTwofold = length <= TwoLevelSum.Entries

  /** The sum of the latest terms. */
  val part = new Array[Double](length)
  private val all = if (isTwofold) new Array[Double](length) else part
  private var terms = 0

  /** To be called after so many terms were added to `part`. */
  def took(count: Int): Unit = {
    terms += count
    if (isTwofold && terms >= TwoLevelSum.Terms) level()
  }

  def sum: Array[Double] = {
    if (isTwofold) level()
    all
  }

  private def level(): Unit = {
    var i = 0
    while (i < length) {
      all(i) += part(i)
      part(i) = 0.0
      i += 1
    }
    terms = 0
  }
}

private object TwoLevelSum {
  private val Terms = 4096
  private val Entries = 1 << 20 // eight megabytes twice
}
