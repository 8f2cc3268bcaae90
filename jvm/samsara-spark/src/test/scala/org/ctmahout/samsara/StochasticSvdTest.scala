package org.ctmahout.samsara

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.CacheHint
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

final case class Result(s: Array[Double], v: Array[Array[Double]], u: Array[Array[Double]], warnings: Seq[String])

class StochasticSvdTest {
  import Local._

  private def decompose(
      a: Array[Array[Double]], k: Int, p: Int = 15, q: Int = 1, parts: Int = 3, floats: Boolean = false, seed: Long = 1): Result =
    withContext { context =>
      val n = a.head.length
      val drm = context.drm(blocks(a, parts, floats = floats).cache(), a.length.toLong, n)
      try {
        val svd = StochasticSvd(drm, k, p, q, seed)
        val u = svd.u.checkpoint(CacheHint.NONE).collect
        def rows(m: Matrix) = Array.tabulate(m.rowSize, svd.rank)((i, j) => m.getQuick(i, j))
        assertTrue(svd.orthogonality < 1e-12, s"|V'V - I| = ${svd.orthogonality}")
        Result(svd.s, rows(svd.v), rows(u), svd.warnings)
      } finally sc.getPersistentRDDs.values.foreach(_.unpersist(blocking = true))
    }

  private def gramError(q: Array[Array[Double]]): Double = {
    val c = q.transpose
    (for (i <- c.indices; j <- c.indices)
      yield math.abs(c(i).indices.map(r => c(i)(r) * c(j)(r)).sum - (if (i == j) 1 else 0))).max
  }

  private def residual(a: Array[Array[Double]], r: Result): Double = {
    val square = for (i <- a.indices; j <- a.head.indices)
      yield math.pow(a(i)(j) - r.s.indices.map(l => r.u(i)(l) * r.s(l) * r.v(j)(l)).sum, 2)
    math.sqrt(square.sum)
  }

  /** All components of a matrix of known spectrum: s, U, V and A itself must come out to working accuracy. */
  private def checkAll(s: Array[Double], n: Int, expected: Int, relative: Double): Unit = {
    val a = withSpectrum(400, n, s, seed = 3)
    val r = decompose(a, n)
    assertEquals(expected, r.s.length)
    for (i <- r.s.indices if s(i) > 1e-8 * s(0)) assertEquals(1.0, r.s(i) / s(i), relative, s"s($i)")
    assertTrue(gramError(r.u) < 1e-12, s"|U'U - I| = ${gramError(r.u)}")
    assertTrue(residual(a, r) < 1e-12 * s(0) * n, s"|A - USV'| = ${residual(a, r)}")
    assertEquals(expected < n, r.warnings.nonEmpty)
  }

  @Test def flatSpectrum(): Unit = checkAll(Array.fill(30)(2.0), 30, 30, 1e-12)
  @Test def slowDecay(): Unit = checkAll(Array.tabulate(40)(i => 1000.0 / (i + 1)), 40, 40, 1e-11)
  @Test def gradedTo1e8(): Unit = checkAll(Array.tabulate(33)(i => math.pow(10, -i / 4.0)), 33, 33, 1e-6)
  @Test def exactRank(): Unit = checkAll(Array.tabulate(20)(i => 5.0 - i / 10.0), 45, 20, 1e-11)
  @Test def rankOne(): Unit = checkAll(Array(7.0), 12, 1, 1e-12)

  @Test def zeroMatrixHasNoComponents(): Unit = {
    val r = decompose(Array.fill(50, 8)(0.0), 8)
    assertEquals(0, r.s.length)
    assertTrue(r.warnings.nonEmpty)
  }

  @Test def constantAndDuplicatedColumns(): Unit = {
    assertEquals(1, decompose(Array.fill(60, 9)(-1024.0), 9).s.length)
    val g = gaussian(80, 5, 9)
    val twice = g.map(row => row ++ row)
    val r = decompose(twice, 10)
    assertEquals(5, r.s.length)
    assertTrue(residual(twice, r) < 1e-11)
  }

  @Test def zeroColumnAmongOthers(): Unit = {
    val a = gaussian(90, 6, 4).map(row => row.updated(2, 0.0))
    val r = decompose(a, 6)
    assertEquals(5, r.s.length)
    for (j <- r.v(2).indices) assertEquals(0.0, r.v(2)(j), 1e-14)
  }

  @Test def columnsOfVeryDifferentScale(): Unit = {
    val a = gaussian(200, 10, 5).map(_.zipWithIndex.map { case (x, j) => x * math.pow(10, -j.toDouble) })
    val r = decompose(a, 10)
    assertTrue(gramError(r.u) < 1e-12)
    assertTrue(residual(a, r) < 1e-11)
  }

  @Test def leadingComponentsOfALargerMatrix(): Unit = {
    val s = Array.tabulate(60)(i => math.pow(0.8, i.toDouble))
    val r = decompose(withSpectrum(500, 80, s, seed = 7), k = 10, q = 2)
    for (i <- 0 until 10) assertEquals(1.0, r.s(i) / s(i), 1e-6)
  }

  @Test def smallAndOddShapes(): Unit = {
    for ((m, n, k) <- Seq((1, 1, 1), (5, 1, 1), (5, 5, 5), (7, 6, 2), (300, 2, 2))) {
      val a = gaussian(m, n, m + n)
      val r = decompose(a, k, parts = 7)
      assertEquals(k, r.s.length, s"$m x $n")
      if (k == n) assertTrue(residual(a, r) < 1e-11, s"$m x $n: ${residual(a, r)}")
    }
  }

  @Test def partitionsChangeOnlyRounding(): Unit = {
    val a = withSpectrum(500, 30, Array.tabulate(30)(i => 100.0 / (i + 1)), seed = 11)
    val one = decompose(a, 12, q = 2, parts = 1)
    for (parts <- Seq(2, 7, 40)) {
      val r = decompose(a, 12, q = 2, parts = parts)
      for (i <- r.s.indices) assertEquals(1.0, r.s(i) / one.s(i), 1e-10)
      for (i <- r.v.indices; j <- 0 until 8) assertEquals(one.v(i)(j), r.v(i)(j), 1e-6)
    }
  }

  @Test def theSameRunGivesTheSameBits(): Unit = {
    val a = gaussian(700, 25, 13)
    val (x, y) = (decompose(a, 20, parts = 5), decompose(a, 20, parts = 5))
    assertArrayEquals(x.s, y.s)
    for (i <- x.v.indices) assertArrayEquals(x.v(i), y.v(i))
    for (i <- x.u.indices) assertArrayEquals(x.u(i), y.u(i))
    val other = decompose(a, 20, parts = 5, seed = 2)
    assertTrue(other.s.indices.exists(i => other.s(i) != x.s(i)), "another seed, another projection")
  }

  @Test def floatsAreKeptAsFloatsAndComputedAsDoubles(): Unit = {
    val a = gaussian(300, 12, 17).map(_.map(x => x.toFloat.toDouble))
    val asFloats = decompose(a, 12, floats = true)
    val doubles = decompose(a, 12)
    for (i <- doubles.s.indices) assertEquals(1.0, asFloats.s(i) / doubles.s(i), 1e-13)
  }

  @Test def signsAreFixed(): Unit = {
    val r = decompose(gaussian(100, 9, 19), 9)
    for (j <- r.s.indices) assertTrue(r.v.map(_(j)).maxBy(math.abs) > 0)
  }

  @Test def moreComponentsThanColumnsAreRefused(): Unit = {
    val e = assertThrows(classOf[IllegalArgumentException], () => { decompose(gaussian(20, 4, 1), 5); () })
    assertTrue(e.getMessage.contains("k = 5"))
  }
}
