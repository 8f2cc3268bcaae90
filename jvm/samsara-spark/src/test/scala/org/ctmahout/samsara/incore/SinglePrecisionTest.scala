package org.ctmahout.samsara
package incore

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.CacheHint
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.Local._
import org.ctmahout.samsara.blocks.{Basis, LazyProduct, SparkBlocks}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.{assertArrayEquals, assertEquals, assertTrue}

/** dssvd of matrices of floats, whose random projections may be in single precision. */
class SinglePrecisionTest {
  private val (m, n, k, p) = (900, 60, 10, 8)

  private def withSpectrum(s: Int => Double): Array[Array[Double]] = {
    val u = GramSchmidt.inOrder(new DenseBlock(m, n, gaussian(m, n, 3).flatten))
    val v = GramSchmidt.inOrder(new DenseBlock(n, n, gaussian(n, n, 4).flatten))
    Array.tabulate(m, n)((i, j) => (0 until n).map(c => u.getQuick(i, c) * s(c) * v.getQuick(j, c)).sum.toFloat.toDouble)
  }

  private def svd(a: Array[Array[Double]], q: Int, floats: Boolean): (Svd[Long], Double) = {
    val pieces = a.indices.grouped(137).map { rows =>
      val values = rows.toArray.flatMap(i => a(i))
      val block: Matrix =
        if (floats) new FloatBlock(rows.length, n, values.map(_.toFloat)) else new DenseBlock(rows.length, n, values)
      (rows.map(_.toLong).toArray, block)
    }.toSeq
    val found = StochasticSvd(new ProcessContext().drm[Long](pieces, m.toLong, n), k, p, q, 7)
    val u = found.u.checkpoint(CacheHint.MEMORY_ONLY)
    val gram = (u.t %*% u).collect
    val errors = for (i <- 0 until found.rank; j <- 0 until found.rank) yield math.abs(gram.getQuick(i, j) - (if (i == j) 1 else 0))
    (found, errors.max)
  }

  @Test def isWithinItsRoundingOfDoublePrecision(): Unit =
    for (q <- 0 to 2) {
      val a = withSpectrum(i => 1.0 / (i + 1))
      val ((single, errorOfU), (double, _)) = (svd(a, q, floats = true), svd(a, q, floats = false))
      for (i <- 0 until k) assertEquals(1.0, single.s(i) / double.s(i), 1e-6, s"q = $q, s($i)")
      if (Gemm.instance.hasSingle) assertTrue(single.s.toSeq != double.s.toSeq, "nothing was in single precision")
      assertTrue(errorOfU < 1e-12, s"q = $q: |U'U - I| = $errorOfU")
      assertTrue(single.orthogonality < 1e-12)
    }

  @Test def isGivenUpWhereItDoesNotDo(): Unit = {
    val spectra = Seq[(String, Int => Double)](
      "graded" -> (i => math.pow(10, -8.0 * i / 20)),
      "of rank five" -> (i => if (i < 5) 1.0 / (i + 1) else 0.0),
      "very small" -> (i => 1e-38 / (i + 1)),
      "very large" -> (i => 1e37 / (i + 1)))
    for ((name, spectrum) <- spectra; q <- 0 to 2) {
      val a = withSpectrum(spectrum)
      val ((single, errorOfU), (double, _)) = (svd(a, q, floats = true), svd(a, q, floats = false))
      assertEquals(double.rank, single.rank, s"$name, q = $q")
      for (i <- 0 until single.rank if double.s(i) > 1e-8 * double.s(0))
        assertEquals(1.0, single.s(i) / double.s(i), 1e-6, s"$name, q = $q, s($i)")
      assertTrue(errorOfU < 1e-12, s"$name, q = $q: |U'U - I| = $errorOfU")
    }
  }

  /** Where a pass in single precision would be thrown away it is better not made. */
  @Test def isNotTriedWhereItWillNotDo(): Unit = withContext { context =>
    def may(spectrum: Int => Double, w: Option[DenseBlock], fromEntries: Long): (Boolean, Long) = {
      val reads = sc.longAccumulator
      val a = new SparkBlocks(blocks(withSpectrum(spectrum), parts = 3, height = 60, floats = true).map { block => reads.add(1); block })
      val factor = w.getOrElse(new DenseBlock(n, 12, gaussian(n, 12, 5).flatten))
      val rows = new LazyProduct(a, None, LazyProduct.newTag(), isStored = true)
      (Basis.mayDoInSingle(context, rows, m.toLong, factor, GramSchmidt.longestFirst(factor), fromEntries), reads.value)
    }
    def graded(by: Double) =
      Some(new DenseBlock(n, 12, gaussian(n, 12, 5).flatMap(_.zipWithIndex.map { case (x, j) => x * math.pow(by, -j / 11.0) })))
    val (flat, steep) = ((i: Int) => 1.0 / (i + 1), (i: Int) => math.pow(10, -i / 2.0))
    assertEquals((true, 0L), may(flat, None, Long.MaxValue))
    assertEquals((true, 0L), may(flat, graded(10), Long.MaxValue))
    assertEquals((false, 0L), may(flat, graded(1e4), Long.MaxValue))
    assertEquals((true, 1L), may(flat, None, 0), "one block of the first partition has enough rows")
    assertEquals((false, 1L), may(steep, None, 0))
  }

  /** Whether there is memory to keep Y must not show in the answer, and what was kept may get lost. */
  @Test def uHasTheSameBitsFromAKeptSketchAndFromA(): Unit = {
    val a = withSpectrum(i => 1.0 / (i + 1))
    def svd(q: Int, floats: Boolean, keeps: Boolean, loses: Boolean = false): (Seq[Double], Seq[Double]) = {
      val context = new ClusterContext(sc, keepsSketch = keeps)
      try {
        val found = StochasticSvd(context.drm(blocks(a, 4, floats = floats), m.toLong, n), k, p, q, 7)
        assertEquals(if (keeps) 1 else 0, sc.getPersistentRDDs.size, "of all sketches the last is kept")
        if (loses) sc.getPersistentRDDs.values.foreach(_.unpersist(blocking = true))
        (found.s.toSeq, Products.dense(found.u.checkpoint(CacheHint.NONE).collect).toArray.toSeq)
      } finally context.close()
    }
    for (floats <- Seq(true, false); q <- 0 to 2) {
      val made = svd(q, floats, keeps = false)
      assertEquals(made, svd(q, floats, keeps = true), s"floats: $floats, q = $q")
      assertEquals(made, svd(q, floats, keeps = true, loses = true), s"floats: $floats, q = $q, lost")
      assertEquals(0, sc.getPersistentRDDs.size, "given back")
    }
  }

  /** U is computed anew, perhaps elsewhere and from blocks of other heights: what it is made of must be the same. */
  @Test def aRowHasTheSameBitsInAnyBlock(): Unit = {
    val a = gaussian(37, n, 1).map(_.map(_.toFloat))
    val z = new DenseBlock(n, 19, gaussian(n, 19, 2).flatten)
    val whole = SingleProducts.times(new FloatBlock(37, n, a.flatten), z)
    for (height <- Seq(1, 3, 5, 36); from <- 0 until 37 by height) {
      val rows = a.slice(from, from + height)
      val part = SingleProducts.times(new FloatBlock(rows.length, n, rows.flatten), z)
      for (i <- rows.indices)
        assertArrayEquals(Array.tabulate(19)(whole.getQuick(from + i, _)), Array.tabulate(19)(part.getQuick(i, _)), s"row ${from + i}")
    }
  }
}
