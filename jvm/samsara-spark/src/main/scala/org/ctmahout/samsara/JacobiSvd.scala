package org.ctmahout.samsara

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
    val (m, n) = (a.rowSize, a.columnSize)
    val columns = Array.tabulate(n, m)((j, i) => a.getQuick(i, j))
    val right = Array.tabulate(n, n)((j, i) => if (i == j) 1.0 else 0.0)
    // The rounding of a sum of m products: of few at its worst, of many as it is.
    val tolerance = math.min(m.toDouble, 10 * math.sqrt(m.toDouble)) * math.ulp(1.0)
    val squares = columns.map(c => dot(c, c))
    var sweep = 0
    while (rotateAll(columns, squares, right, tolerance) && sweep < Sweeps) sweep += 1
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

  /** One sweep over all pairs; tells whether any had to be rotated. `squares` are the squared lengths of the columns. */
  private def rotateAll(
      columns: Array[Array[Double]], squares: Array[Double], right: Array[Array[Double]], tolerance: Double): Boolean = {
    var rotated = false
    for (i <- columns.indices; j <- i + 1 until columns.length) {
      val (a, b, c) = (squares(i), squares(j), dot(columns(i), columns(j)))
      if (math.abs(c) > tolerance * math.sqrt(a) * math.sqrt(b) && c != 0.0) {
        rotated = true
        // The rotation that makes the two orthogonal (Golub and Van Loan, section 8.6.3).
        val zeta = (b - a) / (2 * c)
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
