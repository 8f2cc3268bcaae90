package org.ctmahout.samsara

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.decompositions.DSSVD
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.EngineCallsTest.rows
import org.ctmahout.samsara.incore.{Cholesky, Products}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/** Gram matrices, where columns are of very different lengths or depend on each other; values whose squares are no numbers. */
class GramTest {
  import Local._

  private def diagonal(d: Double*): Matrix = new DenseMatrix(Array.tabulate(d.size, d.size)((i, j) => if (i == j) d(i) else 0.0))

  @Test def aShortColumnOfAProductIsAShortColumn(): Unit = withContext { context =>
    val a = gaussian(40, 3, seed = 1)
    val scales = Array(1.0, 1e-17, 1e160)
    val y = context.drm(blocks(a, parts = 2), 40, 3) %*% diagonal(1.0, 1e-17, 1e160)
    val found = rows((y.t %*% y).collect)
    for (i <- 0 until 3; j <- 0 until 3 if i != 2 || j != 2) {
      val expected = a.map(row => row(i) * scales(i) * row(j) * scales(j)).sum
      assertEquals(1.0, found(i)(j) / expected, 1e-13, s"($i, $j)")
    }
  }

  @Test def aGramMatrixOfAProductTakesOnePass(): Unit = withContext { context =>
    val a = withSpectrum(60, 8, Array.tabulate(8)(i => math.pow(10, -2.0 * i)), seed = 3)
    val reads = sc.longAccumulator
    val counted = blocks(a, parts = 1, height = 60).map { block => reads.add(1); block }
    val y = context.drm(counted, 60, 8) %*% new DenseMatrix(gaussian(8, 8, 1))
    (y.t %*% y).collect
    assertEquals(1L, reads.value: Long)
  }

  /** Mahout's own dssvd: its B'B is as it is, unless it is singular to rounding. */
  @Test def smallSingularValuesComeOutOfMahoutsDssvdAsWell(): Unit = withContext { context =>
    val s = Array.tabulate(20)(i => math.pow(10, -6 * i / 19.0))
    val a = withSpectrum(200, 64, s, seed = 3)
    def dssvd(a: Array[Array[Double]], k: Int): Array[Double] = {
      RandomUtils.seedNext(1)
      val found = DSSVD.dssvd(context.drm(blocks(a, parts = 2), 200, a.head.length), k, 0, 1)._3
      Array.tabulate(k)(found.get)
    }
    for ((expected, found) <- s.zip(dssvd(a, 20))) assertEquals(1.0, found / expected, 1e-3, s"s = $expected")
    val singular = dssvd(a, 30) // ten directions more than there are
    for ((expected, found) <- s.zip(singular).take(15)) assertEquals(1.0, found / expected, 1e-2, s"s = $expected")
    assertTrue(singular.forall(x => x >= 0 && x < 2), singular.mkString(" "))
  }

  /** Whatever is left out, the factor is that of the part that is left, to the last bit. */
  @Test def theLeadingPartIsFactoredAtOnce(): Unit = {
    val a = withSpectrum(60, 20, Array.tabulate(7)(i => 1.0 / (i + 1)), seed = 4)
    val block = new DenseBlock(60, 20, a.flatten)
    val gram = Products.transposedTimes(block, block)
    val found = Cholesky.leading(gram)
    def part(k: Int) = new DenseBlock(k, k, gram.data, 0, 20).whole
    assertTrue(found.rowSize >= 7 && found.rowSize < 20, s"${found.rowSize} of 20 columns, of rank 7")
    assertArrayEquals(Cholesky(part(found.rowSize)).get.toArray, found.toArray)
    assertTrue((found.rowSize + 1 to 20).forall(k => Cholesky(part(k)).isEmpty))
    assertEquals(0, Cholesky.leading(new DenseBlock(3, 3)).rowSize)
    // Each decomposition begins with a copy: there is one, and not one for each of 150 directions that are missing.
    val deficient = new DenseBlock(200, 160, HardMatricesTest.integers(200, 8, 160).flatten)
    val gramOfMany = Products.transposedTimes(deficient, deficient)
    val threads = java.lang.management.ManagementFactory.getThreadMXBean.asInstanceOf[com.sun.management.ThreadMXBean]
    def allocated = threads.getThreadAllocatedBytes(Thread.currentThread.getId)
    val before = allocated
    assertEquals(8, Cholesky.leading(gramOfMany).rowSize)
    val copies = (allocated - before) / (160 * 160 * 8)
    assertTrue(copies < 10, s"as much memory as $copies copies take")
  }

  @Test def valuesWhoseSquaresAreNoNumbers(): Unit = {
    val a = gaussian(60, 5, 8)
    for (scale <- Seq(1e160, 1e300, 1e-160, 1e-290); how <- HardMatricesTest.Algorithms ++ HardMatricesTest.Centred) {
      val (expected, found) = (svd(a.map(_.map(_ * scale)), how), svd(a, how))
      assertEquals(5, expected._1.length, s"${how.name}, $scale")
      for (i <- 0 until 5) assertEquals(1.0, expected._1(i) / scale / found._1(i), 1e-10, s"s($i), ${how.name}, $scale")
      assertArrayEquals(found._2, expected._2, 1e-9, s"U, ${how.name}, $scale")
    }
  }

  @Test def valuesThatAreNoNumbersAreRefused(): Unit = {
    val a = gaussian(60, 5, 8)
    for (bad <- Seq(Double.NaN, Double.PositiveInfinity, Double.NegativeInfinity);
      how <- HardMatricesTest.Algorithms ++ HardMatricesTest.Centred) {
      val e = assertThrows(classOf[ArithmeticException], () => { svd(a.updated(7, a(7).updated(2, bad)), how); () }, s"${how.name}, $bad")
      assertTrue(e.getMessage.contains("not finite"), e.getMessage)
    }
    val e =
      assertThrows(classOf[ArithmeticException], () => { svd(Array.fill(60, 5)(Double.MaxValue), HardMatricesTest.Algorithms.head); () })
    assertTrue(e.getMessage.contains("beyond the range"), e.getMessage)
  }

  private def svd(a: Array[Array[Double]], how: HardMatricesTest.Algorithm): (Array[Double], Array[Double]) = {
    val context = new ProcessContext
    val whole = Seq((a.indices.map(_.toLong).toArray, new DenseBlock(a.length, a.head.length, a.flatten): Matrix))
    val found = how.svd(context.drm(whole, a.length.toLong, a.head.length), a.head.length)
    (found.s, rows(found.u.collect).flatten)
  }
}
