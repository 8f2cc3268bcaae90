package org.ctmahout.samsara

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.incore.Products
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/** dssvd with as many directions as half of the columns, or more: its sums come from A'A, unless that says too little. */
class WideProjectionTest {
  import HardMatricesTest.{dense, faultsOf, taken}
  import Local._

  private val (m, n) = (200, 24)
  private def mild = withSpectrum(m, n, Array.tabulate(n)(i => 1.0 / (i + 1)), seed = 3)

  /** A decomposition, and how often the matrix was read for s and V. */
  private def counted(a: Array[Array[Double]], k: Int, p: Int, q: Int, parts: Int = 1): (HardMatricesTest.Decomposed, Long) =
    withContext { context =>
      val reads = sc.longAccumulator
      val rows = blocks(a, parts, height = m).map { block => reads.add(1); block }
      val svd = StochasticSvd(context.drm(rows, a.length.toLong, a.head.length), k, p, q, seed = 1)
      val passes: Long = reads.value
      (taken(svd), passes)
    }

  @Test def theSumsOfAllPowerIterationsAreThoseOfOnePass(): Unit = {
    for (q <- 0 to 2; (k, p) <- Seq((n, 0), (n - 1, 15), (12, 8), (10, 2), (12, 0)))
      assertEquals(1L, counted(mild, k, p, q)._2, s"k = $k, p = $p, q = $q")
    for (q <- 0 to 2) assertEquals(1L + q, counted(mild, 8, 3, q)._2, s"one direction less than half of the columns, q = $q")
  }

  /** On both sides of the limit. */
  @Test def theAnswerIsTheSameHoweverItIsComputed(): Unit = {
    val a = withSpectrum(m, n, Array.tabulate(9)(i => 5.0 - i / 2.0), seed = 6)
    for (q <- 0 to 2; p <- Seq(2, 3); parts <- Seq(1, 3, 7)) // nine directions of eleven or twelve
      assertEquals(
        Seq.empty[String],
        faultsOf(counted(a, 9, p, q, parts)._1, a, dense(a), 9, Some(9)),
        s"p = $p, q = $q, $parts partitions")
    val (below, above) = (counted(mild, 8, 3, 4)._1, counted(mild, 8, 4, 4)._1)
    for (i <- 0 until 4) assertEquals(1.0, below.s(i) / above.s(i), 1e-6, s"s($i)")
  }

  @Test def whereSquaresSayTooLittlePassesFollow(): Unit =
    for (exponent <- Seq(-5, -8, -12); (k, p) <- Seq((n, 0), (12, 4)); q <- 0 to 1) {
      val a = withSpectrum(m, n, HardMatricesTest.graded(n, exponent), seed = 5)
      val (found, passes) = counted(a, k, p, q)
      assertTrue(passes > 1, s"10^$exponent, k = $k: $passes passes")
      if (k == n) assertEquals(Seq.empty[String], faultsOf(found, a, dense(a), k, None), s"10^$exponent, k = $k")
    }

  /** A'A says of columns of any length what a pass over the columns says. */
  @Test def columnsOfVeryDifferentLengthsTakeOnePass(): Unit = {
    val a = HardMatricesTest.scaledColumns(gaussian(m, 8, 7), j => math.pow(10, -j.toDouble))
    val (found, passes) = counted(a, 8, 0, 0)
    assertEquals(1L, passes)
    assertEquals(Seq.empty[String], faultsOf(found, a, dense(a), 8, Some(8)))
  }

  @Test def aMatrixOfLowerRankThanTheProjectionIsWide(): Unit =
    for (rank <- Seq(0, 1, 5, 11); (k, p) <- Seq((n, 0), (14, 2), (12, 0)); q <- 0 to 1) {
      val a = if (rank == 0) Array.fill(m, n)(0.0) else HardMatricesTest.integers(m, rank, n)
      assertEquals(
        Seq.empty[String],
        faultsOf(counted(a, k, p, q)._1, a, dense(a), k, Some(math.min(rank, k))),
        s"rank $rank, k = $k, q = $q")
    }

  @Test def valuesThatAreNoNumbersAreRefused(): Unit =
    for (bad <- Seq(Double.NaN, Double.PositiveInfinity); (k, p) <- Seq((n, 0), (12, 0), (12, 6)); q <- 0 to 1) {
      val a = gaussian(m, n, 8)
      a(7)(2) = bad
      val e = assertThrows(classOf[ArithmeticException], () => { counted(a, k, p, q); () }, s"$bad, k = $k, q = $q")
      assertTrue(e.getMessage.contains("not finite"), e.getMessage)
    }

  @Test def partitionsWithoutRows(): Unit =
    for ((k, p) <- Seq((n, 0), (12, 3))) {
      def svd(parts: Int, height: Int) = withContext { context =>
        taken(StochasticSvd(context.drm(blocks(mild, parts, height), m.toLong, n), k, p, 1, seed = 1))
      }
      val (full, gaps) = (svd(2, 100), svd(9, 100))
      assertArrayEquals(full.s, gaps.s, "the sums of nothing are zeros")
      for (i <- 0 until n) assertArrayEquals(full.v(i), gaps.v(i))
    }

  /** A'A of a matrix is that of its blocks, whoever asks. */
  @Test def theGramMatrixOfStoredRowsIsMadeOnce(): Unit = withContext { context =>
    val reads = sc.longAccumulator
    val a = context.drm(blocks(mild, parts = 1, height = m).map { block => reads.add(1); block }, m.toLong, n)
    val first = Products.dense((a.t %*% a).collect).toArray
    val exact = ExactSvd(a, n, seed = 1)
    assertEquals(1L, reads.value: Long)
    assertArrayEquals(exact.s, StochasticSvd(a, n, 0, 0, seed = 1).s, 1e-10)
    assertArrayEquals(first, Products.dense((a.t %*% a).collect).toArray, "nobody has written to it")
    assertEquals(1L, reads.value: Long)
  }

  @Test def rowsAreWrittenAndMeasuredInOnePass(): Unit =
    for (limit <- Seq("1g", "1m")) withSpark("local[2]", "spark.driver.maxResultSize" -> limit) { sc =>
      val a = gaussian(96, 150, 4)
      val context = new ClusterContext(sc)
      val rdd = sc.parallelize(
        a.indices.grouped(4).map { some =>
          (some.map(_.toLong).toArray, new DenseBlock(4, 150, some.toArray.flatMap(a(_))): Matrix)
        }.toSeq,
        24)
      val drm = context.drm[Long](rdd, 96, 150).asInstanceOf[DistributedRows[Long]]
      // 24 sums of 176 KiB.
      val (gram, told) = drm.gramAnd(_.flatMap(_._1).toVector)
      assertEquals(Seq.range(0L, 96L), told.flatten, "in the order of the partitions")
      assertEquals(24, told.size)
      assertArrayEquals(Products.dense((drm.t %*% drm).collect).toArray, Products.dense(gram).toArray)
      context.close()
    }
}
