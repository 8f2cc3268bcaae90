package org.ctmahout.samsara
package incore

import java.util.stream.IntStream

import org.apache.spark.TaskContext

/** ParallelLoop of a loop that do not touch each other: side by side on the driver, where they are worth it. In a task the cores are others'. */
private[samsara] object ParallelLoop {

  /** @param work about how many numbers all turns together go through */
  def apply(from: Int, until: Int, work: Long)(turn: Int => Unit): Unit =
    if (work < Worthwhile || TaskContext.get() != null) {
      var i = from
      while (i < until) { turn(i); i += 1 }
    } else IntStream.range(from, until).parallel().forEach(i => turn(i))

  private val Worthwhile = 1L << 18
}
