package org.ctmahout.samsara
package incore

import org.apache.mahout.math.Matrix

/** What the engine does with the Gram matrix A'A of a tall matrix, on the driver. */
private[samsara] object GramMatrix {
  private val Eps = math.ulp(1.0)

  /**
   * A Gram matrix that Mahout's Cholesky decomposition accepts: this one, if it is positive definite beyond rounding. Else
   * each diagonal element grows by a share, as small as will do: step one of shifted Cholesky QR (Fukaya, Kannan,
   * Nakatsukasa, Yamamoto, Yanagisawa 2020, SIAM J. Sci. Comput. 42). A zero column gets a 1 that multiplies only zeros.
   */
  def positiveDefinite(gram: DenseBlock): DenseBlock = {
    val n = gram.rowSize
    requireFinite(gram)
    def shifted(share: Double): DenseBlock = {
      val g = new DenseBlock(n, n, gram.toArray)
      for (i <- 0 until n) {
        val d = gram.getQuick(i, i)
        g.setQuick(i, i, if (d > 0) d * (1 + share) else 1.0)
      }
      g
    }
    (Iterator.single(0.0) ++ Iterator.iterate(10.0 * n * Eps)(_ * 10).takeWhile(_ < 1e-3))
      .map(shifted)
      .find(Cholesky.isFineForMahout)
      .getOrElse(throw new ArithmeticException("the Gram matrix cannot be made positive definite"))
  }

  /**
   * Adds to the diagonal what rounding may have taken, if it has: no eigenvalue that Mahout computes is negative then, and no
   * 1 / sqrt is infinite. A Gram matrix whose eigenvalues are all beyond rounding stays as it is.
   */
  def positiveSemidefinite(gram: DenseBlock): DenseBlock = {
    requireFinite(gram)
    val n = gram.rowSize
    val trace = (0 until n).map(i => gram.getQuick(i, i)).sum
    val rounding = n * Eps * trace // infinite at most where decompositions begin anew, with a multiple: see Magnitude
    def shifted(shift: Double): DenseBlock = {
      val g = new DenseBlock(n, n, gram.toArray)
      for (i <- 0 until n) g.setQuick(i, i, gram.getQuick(i, i) + shift)
      g
    }
    if (trace > 0) {
      val shift = Seq(0.0, 2 * rounding).find(shift => Cholesky(shifted(shift - rounding)).isDefined)
      shifted(shift.getOrElse(10 * rounding))
    } else shifted(java.lang.Double.MIN_NORMAL)
  }

  /** @throws ArithmeticException it is no Gram matrix that anything can be done with */
  def requireFinite(gram: Matrix): Unit =
    if (!Products.dense(gram).toArray.forall(x => math.abs(x) <= Double.MaxValue))
      throw new NotFinite("the Gram matrix is not positive definite: the matrix has values that are not finite, or whose squares are not")

  /** How far from orthonormal columns with this Gram matrix are; zero columns do not count. */
  def distance(gram: DenseBlock): Double = {
    val n = gram.rowSize
    var largest = 0.0
    for (i <- 0 until n; j <- 0 until n) {
      val g = gram.getQuick(i, j)
      largest = math.max(largest, math.abs(if (i == j && g != 0.0) g - 1 else g))
    }
    largest
  }

  /**
   * Eigenvectors of the Gram matrix of columns that may be of very different lengths, the largest eigenvalues first. Small
   * ones come out as accurately as large ones, as far as the entries allow, each of which is right to the rounding of the lengths
   * of its own two columns: by Cholesky decomposition and Jacobi rotations (Demmel and Veselic 1992, SIAM J. Matrix Anal.
   * Appl. 13, section 4), where the usual reduction to a tridiagonal matrix would spread the rounding of the longest
   * column over all. Dependent columns are replaced by an orthonormal complement.
   */
  def eigenvectors(gram: DenseBlock): DenseBlock = {
    val n = gram.rowSize
    val rows = Cholesky.independentRows(gram)
    val known = JacobiSvd(new DenseBlock(n, rows.length, Array.tabulate(n * rows.length)(e => rows(e % rows.length)(e / rows.length)))).u
    val all = new DenseBlock(n, rows.length + n)
    for (i <- 0 until n) {
      for (j <- rows.indices) all.setQuick(i, j, known.getQuick(i, j))
      all.setQuick(i, rows.length + i, 1.0)
    }
    val basis = GramSchmidt.inOrder(all)
    val there = (0 until all.columnSize).filter(j => (0 until n).exists(i => basis.getQuick(i, j) != 0.0)).take(n)
    val vectors = new DenseBlock(n, n)
    for ((from, to) <- there.zipWithIndex; i <- 0 until n) vectors.setQuick(i, to, basis.getQuick(i, from))
    vectors
  }
}
