package org.ctmahout.samsara
package incore

/**
 * Orthonormal bases of narrow matrices on the driver, by Gram-Schmidt, repeated where a step has removed more than half: "twice
 * is enough" (Giraud, Langou, Rozloznik 2005, Comput. Math. Appl. 50). Columns are taken in panels, which matrix products clean of
 * the panels before them.
 */
private[samsara] object GramSchmidt {
  private val Eps = math.ulp(1.0)

  private val Panel = 48

  /** W = Q R with R upper triangular, its diagonal positive. A column that depends on those before it is zero in Q. */
  def inOrder(w: DenseBlock): DenseBlock = {
    val (m, n) = (w.rowSize, w.columnSize)
    val q = new DenseBlock(m, n)
    for (from <- 0 until n by Panel) {
      val basis = new DenseBlock(m, from, q.data, 0, n) // the first columns of Q, in place
      val columns = columnsOf(Slices.columns(w, from, math.min(Panel, n - from)))
      val lengths = columns.map(length)
      clean(columns, basis)
      for (j <- columns.indices) {
        val (c, negligible) = (columns(j), m * Eps * lengths(j))
        @annotation.tailrec
        def settled(before: Double): Double = {
          for (i <- 0 until j) removeFrom(c, columns(i))
          val left = length(c)
          if (left >= before / 2 || left <= negligible) left
          else {
            clean(Array(c), basis)
            settled(left)
          }
        }
        val left = settled(lengths(j))
        if (left <= negligible) java.util.Arrays.fill(c, 0.0) else scale(c, 1 / left)
        for (i <- 0 until m) q.data(i * n + from + j) = c(i)
      }
    }
    q
  }

  /** Removes from columns their components in an orthonormal basis. */
  private def clean(columns: Array[Array[Double]], basis: DenseBlock): Unit =
    if (basis.columnSize > 0) {
      val inBasis = Products.times(basis, Products.transposedTimes(basis, blockOf(columns, basis.rowSize)))
      for (j <- columns.indices; i <- columns(j).indices) columns(j)(i) -= inBasis.getQuick(i, j)
    }

  /**
   * An orthonormal basis of W's columns, the longest first: in each step the column with the longest remainder. So the basis
   * is graded as W's singular values are. There are zero columns at its end if W's are dependent.
   *
   * Of a tall W = Q R it is R's columns that are chosen among: they have the lengths and angles of W's.
   */
  def longestFirst(w: DenseBlock): DenseBlock =
    if (w.rowSize < 2 * w.columnSize) pivoted(w)
    else {
      val q = inOrder(w)
      Products.times(q, pivoted(Products.transposedTimes(q, w)))
    }

  private def pivoted(w: DenseBlock): DenseBlock = {
    val (m, n) = (w.rowSize, w.columnSize)
    val columns = columnsOf(w)
    val lengths = columns.map(length)
    val negligible = if (n == 0) 0.0 else m * Eps * lengths.max
    for (j <- 0 until n) {
      val pivot = (j until n).maxBy(lengths(_))
      val c = columns(pivot)
      columns(pivot) = columns(j)
      lengths(pivot) = lengths(j)
      columns(j) = c
      val left = cleaned(c, columns, j, negligible)
      if (left <= negligible) java.util.Arrays.fill(c, 0.0)
      else {
        scale(c, 1 / left)
        ParallelLoop(j + 1, n, m.toLong * (n - j)) { i =>
          removeFrom(columns(i), c)
          lengths(i) = length(columns(i))
        }
      }
    }
    blockOf(columns, m)
  }

  /** Removes the components in the columns before, again until that changes little. Returns the length left. */
  @annotation.tailrec
  private def cleaned(c: Array[Double], columns: Array[Array[Double]], count: Int, negligible: Double): Double = {
    val before = length(c)
    for (i <- 0 until count) removeFrom(c, columns(i))
    val left = length(c)
    if (left >= before / 2 || left <= negligible) left else cleaned(c, columns, count, negligible)
  }

  def columnsOf(m: DenseBlock): Array[Array[Double]] = Array.tabulate(m.columnSize, m.rowSize)((j, i) => m.getQuick(i, j))

  def blockOf(columns: Array[Array[Double]], m: Int): DenseBlock = {
    val n = columns.length
    val all = new DenseBlock(m, n)
    for (i <- 0 until m; j <- 0 until n) all.data(i * n + j) = columns(j)(i)
    all
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

  /** Four sums, since each addition would wait four cycles for the one before. */
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
