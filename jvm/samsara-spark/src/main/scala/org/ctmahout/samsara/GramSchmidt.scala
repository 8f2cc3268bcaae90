package org.ctmahout.samsara

/** Orthonormal bases of narrow matrices on the driver, by modified Gram-Schmidt. */
private[samsara] object GramSchmidt {
  private val Eps = math.ulp(1.0)

  /** W = Q R with R upper triangular, its diagonal positive. A column that depends on those before it is zero in Q. */
  def inOrder(w: DenseBlock): DenseBlock = basis(w, pivoting = false)

  /**
   * An orthonormal basis of W's columns, the longest first: in each step the column that has most left of it. So the basis
   * is graded as W's singular values are. There are zero columns at its end if W's are dependent.
   */
  def longestFirst(w: DenseBlock): DenseBlock = basis(w, pivoting = true)

  private def basis(w: DenseBlock, pivoting: Boolean): DenseBlock = {
    val (m, n) = (w.rowSize, w.columnSize)
    val columns = Array.tabulate(n, m)((j, i) => w.getQuick(i, j))
    val lengths = columns.map(length)
    val longest = if (lengths.isEmpty) 0.0 else lengths.max
    for (j <- 0 until n) {
      if (pivoting) swap(columns, j, (j until n).maxBy(i => length(columns(i))))
      val c = columns(j)
      val negligible = m * Eps * (if (pivoting) longest else lengths(j))
      val left = cleaned(c, columns, j, negligible)
      if (left <= negligible) java.util.Arrays.fill(c, 0.0)
      else {
        scale(c, 1 / left)
        for (i <- j + 1 until n) removeFrom(columns(i), c)
      }
    }
    val q = new DenseBlock(m, n)
    for (j <- 0 until n; i <- 0 until m) q.setQuick(i, j, columns(j)(i))
    q
  }

  /** Takes off once more what rounding left of the columns before, until that changes little. Returns the length left. */
  @annotation.tailrec
  private def cleaned(c: Array[Double], columns: Array[Array[Double]], count: Int, negligible: Double): Double = {
    val before = length(c)
    for (i <- 0 until count) removeFrom(c, columns(i))
    val left = length(c)
    if (left >= before / 2 || left <= negligible) left else cleaned(c, columns, count, negligible)
  }

  private def swap(columns: Array[Array[Double]], i: Int, j: Int): Unit = {
    val c = columns(i)
    columns(i) = columns(j)
    columns(j) = c
  }

  private def removeFrom(c: Array[Double], unit: Array[Double]): Unit = {
    val share = dot(c, unit)
    var i = 0
    while (i < c.length) { c(i) -= share * unit(i); i += 1 }
  }

  private def scale(c: Array[Double], factor: Double): Unit = {
    var i = 0
    while (i < c.length) { c(i) *= factor; i += 1 }
  }

  private def length(c: Array[Double]): Double = math.sqrt(dot(c, c))

  /** Four sums, because one would wait four cycles for itself at each value. */
  def dot(x: Array[Double], y: Array[Double]): Double = {
    var s0, s1, s2, s3 = 0.0
    val whole = x.length & ~3
    var i = 0
    while (i < whole) {
      s0 += x(i) * y(i)
      s1 += x(i + 1) * y(i + 1)
      s2 += x(i + 2) * y(i + 2)
      s3 += x(i + 3) * y(i + 3)
      i += 4
    }
    while (i < x.length) { s0 += x(i) * y(i); i += 1 }
    (s0 + s1) + (s2 + s3)
  }
}
