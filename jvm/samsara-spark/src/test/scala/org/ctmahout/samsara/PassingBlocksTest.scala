package org.ctmahout.samsara

import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.EngineCallsTest.rows
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** Blocks whose values are gone when the next one is asked for, as the bridge reads what does not fit in memory. */
class PassingBlocksTest {
  import Local._

  private val a = Array.tabulate(24, 3)((i, j) => ((7 * i + 5 * j) % 11).toDouble)

  private def t(x: Array[Array[Double]]) = x.transpose
  private def times(x: Array[Array[Double]], y: Array[Array[Double]]) = x.map(row => t(y).map(_.zip(row).map { case (p, q) => p * q }.sum))

  private def check(expected: Array[Array[Double]], drm: DrmLike[Long], what: String): Unit =
    assertEquals(expected.toSeq.map(_.toSeq), rows(drm.collect).toSeq.map(_.toSeq), what)

  @Test def whateverHoldsBlocksHoldsItsOwn(): Unit =
    for (entries <- Seq(1L << 26, 1L); floats <- Seq(false, true)) {
      val context = new ClusterContext(sc, driverEntries = entries)
      val what = s"driverEntries = $entries, floats = $floats: "
      try {
        val drm = context.drm[Long](blocks(a, parts = 2, height = 4).mapPartitions(PassingBlocksTest.passing(_, floats)), 24, 3)
        check(a, drm, what + "collect")
        assertEquals(
          times(t(a), a).toSeq.map(_.toSeq),
          rows((drm.t %*% drm).collect).toSeq.map(_.toSeq),
          what + "A'A")
        check(times(a, t(a)), drm %*% drm.t, what + "A A'")
        check(a.map(_.map(_ * 2)), drm + drm.par(exact = 2), what + "A + A")
        check(a, drm.par(exact = 5), what + "more partitions")
        check(a, drm.par(exact = 1).checkpoint(CacheHint.MEMORY_ONLY), what + "fewer partitions, kept")
        check(times(a, a.take(3)), drm %*% new DenseMatrix(a.take(3)), what + "A W")
      } finally context.close()
    }
}

object PassingBlocksTest {

  /** The same blocks, those of a partition read into one array. */
  def passing[K](all: Iterator[(Array[K], Matrix)], floats: Boolean): Iterator[(Array[K], Matrix)] = {
    var doubles = Array.empty[Double]
    var singles = Array.empty[Float]
    all.map { case (keys, m) =>
      val (height, n) = (m.rowSize, m.columnSize)
      if (doubles.length < height * n) { doubles = new Array(height * n); singles = new Array(height * n) }
      for (i <- 0 until height; j <- 0 until n) { doubles(i * n + j) = m.get(i, j); singles(i * n + j) = m.get(i, j).toFloat }
      (keys, if (floats) new FloatBlock(height, n, singles) else new DenseBlock(height, n, doubles): Matrix)
    }
  }
}
