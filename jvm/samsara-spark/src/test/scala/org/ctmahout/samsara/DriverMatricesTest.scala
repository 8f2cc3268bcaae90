package org.ctmahout.samsara

import org.apache.mahout.math.{Matrices, Matrix}
import org.ctmahout.samsara.incore.{GramMatrix, GramSchmidt, JacobiSvd, Products}
import org.ctmahout.samsara.plan.Closures
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/** Bases and decompositions on the driver, of more columns than one panel has. */
class DriverMatricesTest {
  import Local._

  private def block(a: Array[Array[Double]]) = new DenseBlock(a.length, a.head.length, a.flatten)
  private def columns(a: Array[Array[Double]], f: (Int, Double) => Double) = a.map(_.zipWithIndex.map { case (x, j) => f(j, x) })
  private def length(m: Matrix, j: Int) = math.sqrt((0 until m.rowSize).map(i => m.get(i, j) * m.get(i, j)).sum)

  private val (m, n) = (170, 110)
  private val matrices: Map[String, Array[Array[Double]]] = {
    val plain = gaussian(m, n, 1)
    Map(
      "plain" -> plain,
      "short columns among long ones" -> columns(plain, (j, x) => x * math.pow(10, -(j * 7 % 13).toDouble)),
      "nearly dependent" -> withSpectrum(m, n, Array.tabulate(n)(i => math.pow(10, -14.0 * i / n)), 2),
      "Hilbert" -> Array.tabulate(m, n)((i, j) => 1.0 / (i + j + 1)),
      "copies in later panels" -> plain.map(row => row.indices.map(j => if (j % 3 == 0) row(j / 2) else row(j)).toArray),
      "rank 60" -> withSpectrum(m, n, Array.tabulate(60)(i => 1.0 / (i + 1)), 3),
      "zero columns" -> columns(plain, (j, x) => if (j % 5 == 0) 0.0 else x)
    )
  }

  private def checkBasis(w: DenseBlock, q: DenseBlock, of: Int => Double, what: String): Unit = {
    assertTrue(
      GramMatrix.distance(Products.transposedTimes(q, q)) < 2e-14,
      s"$what: ${GramMatrix.distance(Products.transposedTimes(q, q))} from orthonormal")
    val rest = Products.times(q, Products.transposedTimes(q, w))
    for (j <- 0 until w.columnSize; i <- 0 until w.rowSize)
      assertEquals(w.get(i, j), rest.get(i, j), 1e-13 * of(j), s"$what, column $j")
  }

  @Test def basesOfManyPanels(): Unit = for ((name, a) <- matrices) {
    val w = block(a)
    val q = GramSchmidt.inOrder(w)
    checkBasis(w, q, length(w, _), s"$name, in order")
    val r = Products.transposedTimes(q, w)
    for (j <- 0 until n; i <- 0 to j)
      if (i == j) assertTrue(r.get(j, j) >= 0, s"$name: the diagonal is positive")
      else assertEquals(0.0, r.get(j, i), 1e-12 * length(w, i), s"$name: R is upper triangular")
    val longest = (0 until n).map(length(w, _)).max
    for (tall <- Seq(w, block(a ++ a ++ a))) {
      val graded = GramSchmidt.longestFirst(tall)
      checkBasis(tall, graded, _ => 2 * longest, s"$name, the longest first, ${tall.rowSize} rows")
      // Each stands for what is left of the columns when those before it are taken off.
      val left = Products.transposedTimes(graded, tall)
      val most = (0 until n).map(i => (0 until n).map(j => math.abs(left.get(i, j))).max)
      for ((x, y) <- most.zip(most.drop(1))) assertTrue(y <= 1.01 * x + 1e-13 * longest, s"$name: $x, then $y")
    }
  }

  /** Columns of any length, orthogonal or nearly so: all singular values to their own rounding, whether R is taken first or not. */
  @Test def jacobiRotationsOfTallMatrices(): Unit = {
    val s = Array.tabulate(60)(j => math.pow(10, -j / 4.0))
    val mixed = Array.tabulate(60, 60)((i, j) => if (i == j) 1.0 else if (i == j + 1) 0.3 else 0.0)
    val orthonormal = Local.orthonormal(170, 60, 4)
    for ((rows, what) <- Seq((170, "tall"), (100, "not so tall"))) {
      val q = if (rows == 170) orthonormal else Local.orthonormal(rows, 60, 5)
      val known = JacobiSvd(block(columns(q, (j, x) => x * s(j))))
      for (j <- 0 until 60) assertEquals(1.0, known.s(j) / s(j), 1e-13, s"$what, s($j)")
      // (Q B) D, B well conditioned: as good as B D alone.
      val b = columns(mixed, (j, x) => x * s(j))
      val expected = JacobiSvd(block(b)).s
      val found = JacobiSvd(Products.times(block(q), block(b)))
      for (j <- 0 until 60) assertEquals(1.0, found.s(j) / expected(j), 1e-12, s"$what, mixed, s($j)")
      for (x <- Seq(found.u, found.v)) assertTrue(Svd.distanceToIdentity(Products.transposedTimes(x, x)) < 1e-13, what)
      val again = Products.times(Svd.scaled(found.u, found.s), Products.transposed(found.v))
      val original = Products.times(block(q), block(b))
      for (i <- 0 until rows; j <- 0 until 60) assertEquals(original.get(i, j), again.get(i, j), 1e-13 * s(j) + 1e-15, what)
    }
  }

  @Test def columnsThatAreNotThereHaveNoSingularVector(): Unit = {
    val svd = JacobiSvd(block(withSpectrum(170, 60, Array.tabulate(40)(i => 1.0 / (i + 1)), 6).map(_ ++ Array(0.0, 0.0))))
    for (j <- 0 until 40) assertEquals(1.0 / (j + 1), svd.s(j), 1e-14)
    for (j <- 40 until 62) assertTrue(svd.s(j) < 1e-14)
    assertEquals(0.0, svd.s(61))
    for (i <- 0 until 170) assertEquals(0.0, svd.u.get(i, 61))
  }

  /** dssvd's Omega is learnt without a product. */
  @Test def theFactorOfAFunctionIsWhatItMultipliesBy(): Unit = {
    val omega = Matrices.symmetricUniformView(300, 20, 7)
    def times(b: Matrix): Matrix = Products.inCore(b, omega, None)
    val found = Closures.factor[Long, Long]({ case (keys, b) => keys -> times(b) }, scala.reflect.ClassTag.Long, 300)
    assertArrayEquals(Products.dense(omega).toArray, found.toArray)
    val other = Closures.factor[Long, Long]({ case (keys, b) => keys -> times(b.times(2)) }, scala.reflect.ClassTag.Long, 300)
    assertArrayEquals(found.toArray.map(_ * 2), other.toArray, "whatever else is done with it")
  }
}
