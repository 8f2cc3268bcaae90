package org.ctmahout.samsara
package incore

import java.util.stream.IntStream

import org.apache.spark.TaskContext

/**
 * A loop with independent turns, in parallel if it is long enough to be worth it. Not in a task, for which the cores beside its own are
 * in use.
 */
private[samsara] object ParallelLoop {

  /** @param work about how many numbers all turns together go through */
  def apply(from: Int, until: Int, work: Long)(turn: Int => Unit): Unit =
    if (work < Worthwhile || TaskContext.get() != null) {
      var i = from
      while (i < until) { turn(i); i += 1 }
    } else IntStream.range(from, until).parallel().forEach(i => turn(i))

  private val Worthwhile = 1L << 18
}
