package org.ctmahout.samsara

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.CacheHint
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** What is particular to the decomposition by A'A; hard matrices have a suite of their own. */
class ExactSvdTest {
  import Local._

  private def decompose(a: Array[Array[Double]], k: Int, parts: Int = 3, floats: Boolean = false): Result =
    withContext { context =>
      val rdd = blocks(a, parts, floats = floats).cache()
      try {
        val svd = ExactSvd(context.drm(rdd, a.length.toLong, a.head.length), k, seed = 1)
        assertTrue(svd.orthogonality < 1e-12, s"|V'V - I| = ${svd.orthogonality}")
        def rows(m: Matrix) = Array.tabulate(m.rowSize, svd.rank)((i, j) => m.getQuick(i, j))
        Result(svd.s, rows(svd.v), rows(svd.u.checkpoint(CacheHint.NONE).collect), svd.warnings)
      } finally rdd.unpersist(blocking = true)
    }

  @Test def itIsExactForAnyNumberOfComponents(): Unit = {
    val s = Array.tabulate(12)(i => 100.0 / (i + 1))
    val a = withSpectrum(400, 12, s, seed = 3)
    for (k <- Seq(1, 5, 12)) {
      val r = decompose(a, k)
      assertEquals(k, r.s.length)
      assertTrue(r.warnings.isEmpty)
      for (i <- 0 until k) assertEquals(1.0, r.s(i) / s(i), 1e-12, s"k = $k, s($i)")
    }
  }

  @Test def nothingButOnePassIsDoneWithoutU(): Unit = withContext { context =>
    val a = withSpectrum(400, 12, Array.tabulate(12)(i => 100.0 / (i + 1)), seed = 3)
    val rdd = blocks(a, parts = 3).cache()
    try {
      rdd.count()
      assertEquals(Jobs(passes = 1, shuffles = 0), jobsOf(ExactSvd(context.drm(rdd, 400L, 12), 12, seed = 1)))
    } finally rdd.unpersist(blocking = true)
  }

  @Test def itAgreesWithTheStochasticOneOnBothSidesOfTheBorder(): Unit =
    for (least <- Seq(1.1e-3, 0.9e-3, 1e-6)) {
      val a = withSpectrum(300, 10, Array.tabulate(10)(i => math.pow(least, i / 9.0)), seed = 5)
      val exact = decompose(a, 10)
      val stochastic = withContext(context => StochasticSvd(context.drm(blocks(a, 3), 300L, 10), 10, 0, 1, seed = 1).s)
      for (i <- 0 until 10) assertEquals(1.0, exact.s(i) / stochastic(i), 1e-9, s"least = $least, s($i)")
    }

  @Test def onlyTheComponentsAskedForDecideWhetherSquaresWillDo(): Unit = {
    val a = withSpectrum(300, 6, Array(3.0, 2.0, 1.0, 1e-9), seed = 7)
    val r = decompose(a, 3)
    for ((expected, found) <- Seq(3.0, 2.0, 1.0).zip(r.s)) assertEquals(1.0, found / expected, 1e-12)
    val all = decompose(a, 6)
    assertEquals(4, all.s.length)
    assertTrue(all.warnings.nonEmpty)
  }

  @Test def partitionsChangeOnlyRoundingAndTheSameRunGivesTheSameBits(): Unit = {
    val a = withSpectrum(500, 20, Array.tabulate(20)(i => 100.0 / (i + 1)), seed = 11)
    val one = decompose(a, 20, parts = 1)
    for (parts <- Seq(2, 7, 40)) {
      val r = decompose(a, 20, parts)
      for (i <- r.s.indices) assertEquals(1.0, r.s(i) / one.s(i), 1e-12)
      for (i <- r.v.indices) assertArrayEquals(one.v(i), r.v(i), 1e-10)
    }
    val (x, y) = (decompose(a, 20, parts = 5), decompose(a, 20, parts = 5))
    assertArrayEquals(x.s, y.s)
    for (i <- x.v.indices) assertArrayEquals(x.v(i), y.v(i))
    for (i <- x.u.indices) assertArrayEquals(x.u(i), y.u(i))
  }

  @Test def floatsAreKeptAsFloatsAndComputedAsDoubles(): Unit = {
    val a = gaussian(300, 12, 17).map(_.map(x => x.toFloat.toDouble))
    val (asFloats, doubles) = (decompose(a, 12, floats = true), decompose(a, 12))
    for (i <- doubles.s.indices) assertEquals(1.0, asFloats.s(i) / doubles.s(i), 1e-13)
  }
}
