package org.ctmahout.samsara
package blocks

/** Arrays of one size, added up in two levels: rounding grows with the number of terms that one sum takes. */
private final class SumOfArrays(size: Int) {
  private val all = new Array[Double](size)
  private var part = Option.empty[Array[Double]]
  private var count = 0

  /** `next` may be written to from now on. */
  def add(next: Array[Double]): Unit = {
    part match {
      case None => part = Some(next)
      case Some(sum) => SumOfArrays.add(sum, next)
    }
    count += 1
    if (count % SumOfArrays.Terms == 0) close()
  }

  def values: Array[Double] = {
    close()
    all
  }

  private def close(): Unit = {
    part.foreach(SumOfArrays.add(all, _))
    part = None
  }
}

private object SumOfArrays {
  private val Terms = 64

  private def add(into: Array[Double], a: Array[Double]): Unit = {
    var i = 0
    while (i < a.length) { into(i) += a(i); i += 1 }
  }
}
