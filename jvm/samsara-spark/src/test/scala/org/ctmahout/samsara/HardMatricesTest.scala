package org.ctmahout.samsara

import scala.collection.mutable.ArrayBuffer
import scala.reflect.ClassTag

import org.apache.mahout.math.{DenseMatrix, Matrix, SingularValueDecomposition}
import org.apache.mahout.math.drm.{CacheHint, CheckpointedDrm}
import org.ctmahout.samsara.incore.{JacobiSvd, Products}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/**
 * What must hold for every matrix, tried on matrices that break decompositions: against Mahout's dense SVD in one process,
 * which shares no code with what is tested.
 */
class HardMatricesTest {
  import HardMatricesTest._
  import Local._

  /** @param rank how many directions the matrix has, where that is no matter of rounding */
  private def holds(a: Array[Array[Double]], rank: Option[Int] = None, centredRank: Option[Int] = None): Unit = {
    val (n, faults) = (a.head.length, ArrayBuffer.empty[String])
    for ((how, expectedRank) <- Algorithms.map(_ -> rank) ++ Centred.map(_ -> centredRank)) {
      val target = if (Centred.contains(how)) less(a, means(a)) else a
      val exact = dense(target)
      for (k <- Seq(n, (n + 1) / 2).distinct)
        faults ++= faultsOf(inProcess(a, how, k), target, exact, k, expectedRank).map(f => s"${how.name}, k = $k: $f")
      // The same algebra, its sums from three partitions: once for each algorithm will do.
      if (OnCluster.contains(how))
        faults ++= faultsOf(onCluster(a, how, n), target, exact, n, expectedRank).map(f => s"${how.name}, k = $n, cluster: $f")
    }
    if (faults.nonEmpty) fail[Unit](s"${faults.size} faults:\n" + faults.mkString("\n"))
  }

  private def onCluster(a: Array[Array[Double]], how: Algorithm, k: Int): Decomposed = withContext { context =>
    taken(how.svd(context.drm(blocks(a, parts = 3), a.length.toLong, a.head.length), k))
  }

  private def inProcess(a: Array[Array[Double]], how: Algorithm, k: Int): Decomposed = {
    val context = new ProcessContext
    val (m, n) = (a.length, a.head.length)
    val pieces = a.indices.grouped(37).map { rows =>
      (rows.map(_.toLong).toArray, new DenseBlock(rows.length, n, rows.toArray.flatMap(i => a(i))): Matrix)
    }.toSeq
    try taken(how.svd(context.drm(pieces, m.toLong, n), k))
    finally context.close()
  }

  @Test def fullRank(): Unit = holds(gaussian(300, 20, 1), Some(20), Some(20))
  @Test def integersOfRankSeven(): Unit = holds(integers(300, 7, 24), Some(7), Some(7))
  @Test def gradedToEightDigits(): Unit = holds(withSpectrum(300, 24, graded(24, -8), seed = 5), Some(24))
  @Test def gradedToFourteenDigits(): Unit = holds(withSpectrum(300, 24, graded(24, -14), seed = 5))
  @Test def columnsOfFallingSize(): Unit = holds(scaledColumns(gaussian(300, 13, 7), j => math.pow(10, -j.toDouble)))
  @Test def columnsOfMixedSize(): Unit = holds(scaledColumns(gaussian(300, 6, 7), Seq(1.0, 1e-6, 1e3, 1e-3, 1e5, 10.0)))
  @Test def constant(): Unit = holds(Array.fill(300, 9)(-1024.0), Some(1), Some(0))
  @Test def constantWithoutAnExactSum(): Unit = holds(Array.fill(300, 9)(0.1), Some(1), Some(0))
  @Test def zero(): Unit = holds(Array.fill(300, 9)(0.0), Some(0), Some(0))
  @Test def duplicatedColumns(): Unit = holds(gaussian(300, 8, 9).map(r => r ++ r ++ r.map(-2 * _)), Some(8), Some(8))
  @Test def nearlyDuplicatedColumns(): Unit = {
    val (g, h) = (gaussian(300, 8, 9), gaussian(300, 8, 10))
    holds(g.indices.map(i => g(i) ++ g(i).indices.map(j => g(i)(j) + 1e-7 * h(i)(j))).toArray, Some(16), Some(16))
  }
  @Test def zeroColumns(): Unit = holds(gaussian(300, 9, 4).map(_.updated(2, 0.0).updated(8, 0.0)), Some(7), Some(7))
  @Test def hilbert(): Unit = holds(Array.tabulate(200, 14)((i, j) => 1.0 / (i + j + 1)))
  @Test def vandermonde(): Unit = holds(Array.tabulate(200, 12)((i, j) => math.pow((i + 1) / 200.0, j.toDouble)))
  @Test def oneColumn(): Unit = holds(gaussian(300, 1, 2), Some(1), Some(1))
  @Test def oneEntry(): Unit = holds(Array(Array(-3.0)), Some(1), Some(0))
  @Test def oneEntryThatIsNotZero(): Unit = holds(Array.tabulate(300, 5)((i, j) => if (i == 250 && j == 3) -2.0 else 0.0), Some(1), Some(1))
  @Test def asWideAsTall(): Unit = holds(gaussian(20, 20, 3), Some(20), Some(19))
  @Test def identity(): Unit = holds(Array.tabulate(18, 18)((i, j) => if (i == j) 1.0 else 0.0), Some(18), Some(17))
  @Test def fewerRowsThanTheProjectionIsWide(): Unit = holds(gaussian(19, 17, 3), Some(17), Some(17))
  @Test def flatSpectrum(): Unit = holds(withSpectrum(300, 20, Array.fill(20)(2.0), seed = 3), Some(20))
  @Test def pairsOfEqualValues(): Unit = holds(withSpectrum(300, 20, Array.tabulate(20)(i => math.pow(0.5, i / 2.0)), seed = 3), Some(20))
  @Test def oneDirectionAboveNoise(): Unit = {
    val noise = gaussian(300, 12, 6)
    holds(noise.zipWithIndex.map { case (row, i) => row.map(x => 1e-5 * x + math.sin(i.toDouble)) }, Some(12), Some(12))
  }
  @Test def computedTomography(): Unit = { // a large mean, and slices that are nearly alike
    val (g, h) = (gaussian(300, 1, 6), gaussian(300, 16, 7))
    holds(Array.tabulate(300, 16)((i, j) => math.rint(-1024 + 400 * math.abs(g(i)(0)) + 10 * h(i)(j))), Some(16), Some(16))
  }
  @Test def valuesAsLargeAsFloatsGet(): Unit = holds(gaussian(300, 9, 8).map(_.map(_ * 1e37)), Some(9), Some(9))
  @Test def valuesAsSmallAsFloatsGet(): Unit = holds(gaussian(300, 9, 8).map(_.map(_ * 1e-37)), Some(9), Some(9))

  // Sixty columns and half as many components: here the projection is not square, and power iterations are done.
  @Test def integersOfRankSevenInAWiderMatrix(): Unit = holds(integers(300, 7, 60), Some(7), Some(7))
  @Test def eightDigitsInAWiderMatrix(): Unit = holds(withSpectrum(300, 60, graded(20, -8), seed = 5), Some(20))
  @Test def fourteenDigitsInAWiderMatrix(): Unit = holds(withSpectrum(300, 60, graded(20, -14), seed = 5))

  /** Rounding decides whether a Cholesky decomposition sees the direction that is missing: ours and Mahout's must agree. */
  @Test def oneDirectionIsMissing(): Unit =
    for (n <- Seq(40, 65); seed <- 1 to 20) {
      val full = withSpectrum(200, n, Array.tabulate(n)(i => 1.0 / (i + 1)), seed)
      val a = if (seed % 2 == 0) full.map(_.updated(7, 0.0)) else full.map(row => row.updated(7, row(n - 1)))
      for (how <- Algorithms.take(2))
        assertEquals(Seq.empty[String], faultsOf(inProcess(a, how, n), a, dense(a), n, Some(n - 1)), s"n = $n, seed $seed, ${how.name}")
    }

  @Test def partitionsWithoutRows(): Unit = {
    val a = gaussian(60, 6, 11)
    for (how <- Algorithms ++ Centred) {
      val target = if (Centred.contains(how)) less(a, means(a)) else a
      val found = withContext { context =>
        taken(how.svd(context.drm(blocks(a, parts = 9, height = 20), a.length.toLong, 6), 6))
      }
      assertEquals(Seq.empty[String], faultsOf(found, target, dense(target), 6, Some(6)), how.name)
    }
  }

  @Test def anyShape(): Unit = {
    val random = new scala.util.Random(12)
    for (_ <- 0 until 40) {
      val n = 1 + random.nextInt(12)
      val a = gaussian(n + random.nextInt(30), n, random.nextInt()).map(_.map(_ + 0.5))
      val how = Algorithms(random.nextInt(Algorithms.size))
      val k = 1 + random.nextInt(n)
      assertEquals(Seq.empty[String], faultsOf(inProcess(a, how, k), a, dense(a), k, Some(k)), s"${a.length} x $n, k = $k, ${how.name}")
    }
  }

  /** The rounding of a sum grows with its length, but not as fast as that: long columns must not be left as they are. */
  @Test def longColumnsThatAreNearlyOrthogonal(): Unit = {
    val rows = 20000
    val columns = new DenseBlock(rows, 2)
    for (i <- 0 until rows) {
      val sign = if (i % 2 == 0) 1.0 else -1.0
      columns.setQuick(i, 0, 1 / math.sqrt(rows.toDouble))
      columns.setQuick(i, 1, (sign + 3e-12) / math.sqrt(rows.toDouble))
    }
    val u = JacobiSvd(columns).u
    assertTrue(Svd.distanceToIdentity(Products.transposedTimes(u, u)) < 1e-12)
  }

  @Test def moreComponentsThanTheMatrixCanHaveAreRefused(): Unit =
    for ((m, n, k) <- Seq((20, 4, 5), (20, 4, 0), (20, 4, -1), (4, 20, 5), (1, 1, 2)); how <- Algorithms ++ Centred) {
      val e =
        assertThrows(classOf[IllegalArgumentException], () => { inProcess(gaussian(m, n, 1), how, k); () }, s"$m x $n, k = $k, ${how.name}")
      assertTrue(e.getMessage.contains(s"k = $k"), e.getMessage)
    }

  @Test def aWideMatrixIsDecomposed(): Unit = {
    val a = gaussian(6, 20, 1)
    for (how <- Algorithms) assertEquals(Seq.empty[String], faultsOf(inProcess(a, how, 6), a, dense(a), 6, Some(6)), how.name)
  }
}

private object HardMatricesTest {

  /** Directions below the rounding of the sums are left out, so that this is not eps. */
  private val Residual = 1e-11

  final case class Decomposed(s: Array[Double], v: Array[Array[Double]], u: Array[Array[Double]], warnings: Seq[String])

  abstract class Algorithm(val name: String) {
    def svd[K: ClassTag](a: CheckpointedDrm[K], k: Int): Svd[K]
  }

  val Algorithms: Seq[Algorithm] =
    new Algorithm("exact") {
      override def svd[K: ClassTag](a: CheckpointedDrm[K], k: Int): Svd[K] = ExactSvd(a, k, seed = 1)
    } +: (0 to 3).map { q =>
      new Algorithm(s"dssvd, q = $q") {
        override def svd[K: ClassTag](a: CheckpointedDrm[K], k: Int): Svd[K] = StochasticSvd(a, k, p = 24, q, seed = 1)
      }
    }

  val Centred: Seq[Algorithm] = (0 to 2).map { q =>
    new Algorithm(s"dspca, q = $q") {
      override def svd[K: ClassTag](a: CheckpointedDrm[K], k: Int): Svd[K] = StochasticSvd.centred(a, k, p = 24, q, seed = 1)
    }
  }

  /** One of each kind. */
  val OnCluster: Seq[Algorithm] = Seq(Algorithms.head, Algorithms(2), Centred(1))

  def taken[K](svd: Svd[K]): Decomposed = {
    def rows(m: Matrix) = Array.tabulate(m.rowSize, svd.rank)((i, j) => m.getQuick(i, j))
    Decomposed(svd.s, rows(svd.v), rows(svd.u.checkpoint(CacheHint.NONE).collect), svd.warnings)
  }

  /** Singular values by Mahout's dense SVD, descending. */
  def dense(a: Array[Array[Double]]): Array[Double] = {
    val tall = if (a.length < a.head.length) a.transpose else a
    // Near 1, because it squares.
    val largest = tall.iterator.flatMap(_.iterator).map(x => math.abs(x)).max
    val scale = if (largest == 0) 1.0 else math.pow(2, Math.getExponent(largest).toDouble)
    new SingularValueDecomposition(new DenseMatrix(tall.map(_.map(_ / scale)))).getSingularValues.map(_ * scale).sorted.reverse
  }

  def means(a: Array[Array[Double]]): Array[Double] = {
    val first = a.transpose.map(c => c.sum / c.length)
    // Twice, so that a constant column leaves zeros.
    first.indices.map(j => first(j) + a.map(_(j) - first(j)).sum / a.length).toArray
  }

  def less(a: Array[Array[Double]], mean: Array[Double]): Array[Array[Double]] =
    a.map(row => row.indices.map(j => row(j) - mean(j)).toArray)

  def integers(m: Int, rank: Int, n: Int): Array[Array[Double]] = {
    val random = new scala.util.Random(2)
    val (x, y) = (Array.fill(m, rank)(random.nextInt(19) - 9), Array.fill(rank, n)(random.nextInt(19) - 9))
    Array.tabulate(m, n)((i, j) => (0 until rank).map(l => x(i)(l) * y(l)(j)).sum.toDouble)
  }

  /** From 1 down to a power of ten. */
  def graded(n: Int, exponent: Int): Array[Double] = Array.tabulate(n)(i => math.pow(10, exponent * i.toDouble / (n - 1)))

  def scaledColumns(a: Array[Array[Double]], factor: Int => Double): Array[Array[Double]] =
    a.map(row => row.indices.map(j => row(j) * factor(j)).toArray)

  /** What is wrong with a decomposition of a, whose singular values are `exact`. */
  def faultsOf(found: Decomposed, a: Array[Array[Double]], exact: Array[Double], k: Int, rank: Option[Int]): Seq[String] = {
    val faults = ArrayBuffer.empty[String]
    def check(fine: Boolean, fault: => String): Unit = if (!fine) faults += fault
    val (s, r) = (found.s, found.s.length)
    val all = s.iterator ++ found.v.iterator.flatMap(_.iterator) ++ found.u.iterator.flatMap(_.iterator)
    check(all.forall(x => !x.isNaN && !x.isInfinite), "values that are not finite")
    check(s.forall(_ > 0) && s.indices.drop(1).forall(i => s(i) <= s(i - 1)), s"s is not descending and positive: ${s.mkString(" ")}")
    for (e <- rank) check(r == math.min(e, k), s"rank $r, expected ${math.min(e, k)}; s = ${s.mkString(" ")}")
    // dssvd picks the leading k by their squares, in which those below 1e-8 are rounding.
    val told = if (k >= a.head.length) 1e-12 else 1e-8
    check(r >= exact.take(k).count(_ > told * exact(0)), s"rank $r, but there are more singular values above $told")
    check(found.warnings.nonEmpty == (r < k), s"rank $r of $k with warnings ${found.warnings}")
    for (i <- 0 until r if i < exact.length && exact(i) > 1e-8 * exact(0)) {
      val error = math.abs(s(i) / exact(i) - 1)
      check(error < 1e-6, f"s($i) = ${s(i)}%.17g, expected ${exact(i)}%.17g, relative error $error%.2g")
    }
    for ((name, q) <- Seq("V" -> found.v, "U" -> found.u); error = distance(q)) check(error < 1e-12, f"|$name'$name - I| = $error%.2g")
    val signed = found.v.headOption.forall(_.indices.forall(j => found.v.map(_(j)).maxBy(x => math.abs(x)) > 0))
    check(signed, "a column of V whose largest entry is negative")
    if (k >= a.head.length) {
      val worst = (for (i <- a.indices; j <- a.head.indices)
        yield math.abs(a(i)(j) - (0 until r).map(l => found.u(i)(l) * s(l) * found.v(j)(l)).sum)).max
      check(worst <= Residual * exact(0), f"|A - U S V'| = $worst%.2g, s(0) = ${exact(0)}%.2g")
    }
    faults.toSeq
  }

  private def distance(q: Array[Array[Double]]): Double = {
    val columns = q.transpose
    val errors = for (i <- columns.indices; j <- 0 to i) yield {
      math.abs(columns(i).indices.map(l => columns(i)(l) * columns(j)(l)).sum - (if (i == j) 1 else 0))
    }
    if (errors.isEmpty) 0.0 else errors.max
  }
}
