package org.ctmahout.samsara

import org.apache.mahout.math.scalabindings.{chol, eigen}
import org.apache.spark.storage.StorageLevel

/**
 * Orthonormal bases by Gram matrices: Cholesky QR, made to work on any matrix.
 *
 * Mahout's dqrThin computes Q = Y R^-1 from the Cholesky factor R of Y'Y. That loses orthogonality like eps cond(Y)^2 and
 * fails on a singular Y'Y. Here the Gram matrix gets a shift of the size of its rounding error, so that R always exists
 * (step one of shifted Cholesky QR: Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa 2020, SIAM J. Sci. Comput. 42), and
 * Q is corrected by its own Gram matrix until it is orthonormal. Directions that Y does not have become zero columns.
 */
private[samsara] object Orthonormal {
  private val Eps = math.ulp(1.0)

  /** A Q as far from orthonormal as this needs no correction. */
  private val GoodEnough = 1e-13

  /** Y T is computed with an error like eps cond(T): beyond this it is stored before it is corrected. */
  private val Symbolic = 1000.0

  /** Beyond this condition of Y its weakest directions have lost more than rounding. */
  private val Lossy = 1e6

  /** Eigenvalues of a corrected Gram matrix, relative to the largest, below which a direction is rounding noise. */
  private val Nothing = 1e-12

  /**
   * A Gram matrix that is positive definite in floating point. Each diagonal element grows by the share that rounding
   * may have taken from it, so columns of any scale keep their own; a zero column gets a 1 that multiplies only zeros.
   */
  def positiveDefinite(gram: DenseBlock): DenseBlock = {
    val n = gram.rowSize
    def shifted(share: Double): DenseBlock = {
      val g = new DenseBlock(n, n, gram.toArray)
      for (i <- 0 until n) {
        val d = gram.getQuick(i, i)
        g.setQuick(i, i, if (d > 0) d * (1 + share) else 1.0)
      }
      g
    }
    Iterator
      .iterate(10.0 * n * Eps)(_ * 10)
      .takeWhile(_ < 1e-3)
      .map(shifted)
      .find(isPositiveDefinite)
      .getOrElse(throw new ArithmeticException("the Gram matrix is not positive definite: the matrix has values that are not finite"))
  }

  private def isPositiveDefinite(g: DenseBlock): Boolean =
    try chol(g).isPositiveDefinite
    catch { case _: IllegalArgumentException => false }

  /** Adds to the diagonal what rounding may have taken: no eigenvalue is negative then, and no 1 / sqrt is infinite. */
  def positiveSemidefinite(gram: DenseBlock): DenseBlock = {
    val n = gram.rowSize
    val trace = (0 until n).map(i => gram.getQuick(i, i)).sum
    val shift = if (trace > 0) 10 * n * Eps * trace else java.lang.Double.MIN_NORMAL
    for (i <- 0 until n) gram.setQuick(i, i, gram.getQuick(i, i) + shift)
    gram
  }

  /** Y T made orthonormal, where T = R^-1 is as Mahout's dqrThin has it. */
  def apply[K](context: SamsaraContext, y: RowBlocks[K], t: DenseBlock): RowBlocks[K] = {
    val n = t.columnSize
    val condition = conditionOf(scaled(y.gram(context, n)))
    if (Eps * condition * condition <= GoodEnough) y.times(t)
    else if (condition <= Symbolic) corrected(context, y.times(t), n, condition)
    else {
      val start = if (condition > Lossy) better(context, y, n) else None
      corrected(context, stored(context, start.getOrElse(y.times(t))), n, 1.0)
    }
  }

  /**
   * A basis of the same space as Y = A W, from an orthonormal basis of W's columns. In a power iteration W = A'Q itself has
   * singular values like A's, so Y has their squares, and the small ones drown in rounding; A times the basis keeps them.
   */
  private def better[K](context: SamsaraContext, y: RowBlocks[K], n: Int): Option[RowBlocks[K]] =
    y.product.map { case (a, w) =>
      val basis = a.times(JacobiSvd(w).u)
      val gram = positiveDefinite(basis.gram(context, n))
      basis.times(Products.dense(chol(gram).solveRight(DenseBlock.identity(n))))
    }

  @annotation.tailrec
  private def corrected[K](context: SamsaraContext, q: RowBlocks[K], n: Int, condition: Double, round: Int = 1): RowBlocks[K] = {
    val gram = q.gram(context, n)
    if (distance(gram) <= GoodEnough || round > 5) q
    else {
      val (vectors, values) = eigen(gram)
      val largest = (0 until n).map(values.getQuick).max
      val live = (0 until n).filter(i => largest > 0 && values.getQuick(i) > Nothing * largest)
      val t = new DenseBlock(n, n)
      for (j <- live; scale = 1 / math.sqrt(values.getQuick(j)); i <- 0 until n)
        t.setQuick(i, j, vectors.getQuick(i, j) * scale)
      val spread = if (live.isEmpty) 1.0 else math.sqrt(largest / live.map(values.getQuick).min)
      val total = condition * spread
      if (total > Symbolic && q.right.nonEmpty) {
        val kept = stored(context, q)
        corrected(context, kept.times(t), n, spread, round + 1)
      } else corrected(context, q.times(t), n, total, round + 1)
    }
  }

  private def stored[K](context: SamsaraContext, rows: RowBlocks[K]): RowBlocks[K] =
    rows.stored(context, StorageLevel.MEMORY_AND_DISK)

  /** How far from orthonormal columns with this Gram matrix are; zero columns do not count. */
  def distance(gram: DenseBlock): Double = {
    val n = gram.rowSize
    val off = for (i <- 0 until n; j <- 0 until n) yield {
      val g = gram.getQuick(i, j)
      if (i == j && g != 0.0) math.abs(g - 1) else math.abs(g)
    }
    if (off.isEmpty) 0.0 else off.max
  }

  private def scaled(gram: DenseBlock): DenseBlock = {
    val n = gram.rowSize
    val d = Array.tabulate(n)(i => math.sqrt(gram.getQuick(i, i)))
    val s = DenseBlock.identity(n)
    for (i <- 0 until n; j <- 0 until n if i != j && d(i) > 0 && d(j) > 0) s.setQuick(i, j, gram.getQuick(i, j) / (d(i) * d(j)))
    s
  }

  /** The condition of a matrix, from its Gram matrix; infinite where that cannot tell. */
  private def conditionOf(gram: DenseBlock): Double = {
    val values = eigen(gram)._2
    val all = (0 until gram.rowSize).map(values.getQuick)
    if (all.isEmpty) 1.0 else if (all.min <= Eps * all.max) Double.PositiveInfinity else math.sqrt(all.max / all.min)
  }
}
