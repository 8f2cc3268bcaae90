package org.ctmahout.samsara
package incore

/** A = U diag(s) V' of a matrix on the driver, with s descending; columns of U that belong to s = 0 are zero. */
private[samsara] final case class JacobiSvd(u: DenseBlock, s: Array[Double], v: DenseBlock)

/**
 * One-sided Jacobi: rotates pairs of columns until all are orthogonal; their lengths are the singular values.
 *
 * Small singular values come out with a small relative error if it is the columns that are small (Demmel and Veselic 1992,
 * SIAM J. Matrix Anal. Appl. 13), which bidiagonalisation does not do. Nearly orthogonal columns need one or two sweeps.
 */
private[samsara] object JacobiSvd {
  import GramSchmidt.dot

  private val Sweeps = 40

  def apply(a: DenseBlock): JacobiSvd = {
    val n = a.columnSize
    // Of a tall A = Q R it is R that is rotated. A column of R is as accurate, for its length, as that of A. But columns that depend on
    // others have no room in R to become orthogonal.
    val q = if (a.rowSize < 2 * n) None else Some(GramSchmidt.inOrder(a)).filter(q => (0 until n).forall(j => hasColumn(q, j)))
    q.fold(rotated(a)) { q =>
      val small = rotated(Products.transposedTimes(q, a))
      small.copy(u = Products.times(q, small.u))
    }
  }

  private def hasColumn(m: DenseBlock, j: Int) = (0 until m.rowSize).exists(m.getQuick(_, j) != 0.0)

  private def rotated(a: DenseBlock): JacobiSvd = {
    val (m, n) = (a.rowSize, a.columnSize)
    val columns = GramSchmidt.columnsOf(a)
    val right = GramSchmidt.columnsOf(DenseBlock.identity(n))
    // The rounding of a sum of m products: at worst for few, as it typically is for many.
    val tolerance = math.min(m.toDouble, 10 * math.sqrt(m.toDouble)) * math.ulp(1.0)
    var sweep = 0
    while (rotateAll(columns, right, m, tolerance) && sweep < Sweeps) sweep += 1
    val lengths = columns.map(c => math.sqrt(dot(c, c)))
    val order = lengths.indices.sortBy(j => -lengths(j))
    val u = new DenseBlock(m, n)
    val v = new DenseBlock(n, n)
    for ((j, to) <- order.zipWithIndex) {
      if (lengths(j) > 0) for (i <- 0 until m) u.setQuick(i, to, columns(j)(i) / lengths(j))
      for (i <- 0 until n) v.setQuick(i, to, right(j)(i))
    }
    JacobiSvd(u, order.map(lengths(_)).toArray, v)
  }

  /**
   * One sweep over the pairs of columns that are not orthogonal, found for all pairs by one product; those that stop being
   * orthogonal meanwhile are left to the next. Returns whether any had to be rotated.
   */
  private def rotateAll(columns: Array[Array[Double]], right: Array[Array[Double]], m: Int, tolerance: Double): Boolean = {
    val n = columns.length
    val all = GramSchmidt.blockOf(columns, m)
    val gram = Products.transposedTimes(all, all)
    val squares = Array.tabulate(n)(j => gram.getQuick(j, j)) // squared lengths
    def isRotated(i: Int, j: Int, product: Double) =
      math.abs(product) > tolerance * math.sqrt(squares(i)) * math.sqrt(squares(j)) && product != 0.0
    val pairs = Array.tabulate(n)(i => (i + 1 until n).filter(j => isRotated(i, j, gram.getQuick(i, j))).toArray)
    var rotated = false
    for (i <- 0 until n; j <- pairs(i)) {
      val c = dot(columns(i), columns(j))
      if (isRotated(i, j, c)) {
        rotated = true
        // The rotation that makes the two orthogonal (Golub and Van Loan, section 8.6.3).
        val zeta = (squares(j) - squares(i)) / (2 * c)
        val t = math.signum(if (zeta == 0.0) 1.0 else zeta) / (math.abs(zeta) + math.hypot(1.0, zeta))
        val cosine = 1 / math.hypot(1.0, t)
        rotate(columns(i), columns(j), cosine, cosine * t)
        rotate(right(i), right(j), cosine, cosine * t)
        squares(i) = dot(columns(i), columns(i))
        squares(j) = dot(columns(j), columns(j))
      }
    }
    rotated
  }

  private def rotate(x: Array[Double], y: Array[Double], cosine: Double, sine: Double): Unit = {
    var i = 0
    while (i < x.length) {
      val xi = x(i)
      x(i) = cosine * xi - sine * y(i)
      y(i) = sine * xi + cosine * y(i)
      i += 1
    }
  }
}
