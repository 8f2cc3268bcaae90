package org.ctmahout.samsara
package plan

import org.ctmahout.samsara.blocks.{Far, Keys, Near, Passes, Repeated, ShuffledProducts, Value}
import org.ctmahout.samsara.incore.{GramMatrix, Products}

/**
 * Products of matrices, wherever these are. While one factor and the result are small, nothing is shuffled: the small one is
 * sent to all. Results, and factors, of more than the context's `driverEntries` stay on the cluster.
 *
 * Rows of one factor are matched with columns of another by their numbers.
 */
private[samsara] final class Multiplication(context: SamsaraContext) {

  /** A'A, n x n. */
  def gram[K](a: Value[K]): Value[Int] = {
    val isShifted = CallingDecomposition.now != CallingDecomposition.NoDecomposition
    a match {
      case near: Near if isSmall(a.n.toLong, a.n) =>
        Near(a.n.toLong, a.n) {
          val gram = new Products.Gram(a.n)
          gram.add(near.matrix)
          val sum = new DenseBlock(a.n, a.n, gram.sum)
          if (isShifted) GramMatrix.positiveSemidefinite(sum) else sum
        }
      case near: Near => gram(far(near))
      case Far(rows, m, n, _) if isSmall(n.toLong, n) =>
        Near(n.toLong, n) {
          val sum = rows.gram(context, m, n, forBasis = isShifted)
          // For a product it is dqrThin that asks. It refuses a Gram matrix that is not positive definite, but Basis orthonormalises any.
          if (isShifted && rows.right.nonEmpty) GramMatrix.positiveDefinite(sum) else sum
        }
      case Far(rows, _, n, _) => ShuffledProducts.cross(rows.evaluated(context), 0, n, 0, n)
    }
  }

  /** A'B, n x w: rows of one key meet. */
  def cross(a: Value[_], b: Value[_]): Value[Int] = {
    val (n, w) = (a.n, b.n)
    def small(sum: => DenseBlock) = Near(n.toLong, w)(sum)
    (a, b) match {
      case (x: Near, y: Near) if isSmall(n.toLong, w) => small(Products.transposedTimes(x.matrix, y.matrix))
      case (x: Far[_], y: Near) if isSmall(n.toLong, w) =>
        Keys.requireNumbers(x.keys, "A'B with B on the driver")
        small(withDriver(x, y, n, w, isLeft = false))
      case (x: Near, y: Far[_]) if isSmall(n.toLong, w) =>
        Keys.requireNumbers(y.keys, "A'B with A on the driver")
        small(withDriver(y, x, n, w, isLeft = true))
      case (x: Far[_], y: Far[_]) if x.rows.tag == y.rows.tag && isSmall(n.toLong, w) =>
        small(y.rows.crossed(context, x.rows, n, w))
      case _ =>
        val both = new Joins(context).sideBySide(far(a), far(b)).rows.evaluated(context)
        if (isSmall(n.toLong, w)) small(Passes.crossWindows(both, n, w)) else ShuffledProducts.cross(both, 0, n, n, w)
    }
  }

  private def withDriver(far: Far[_], near: Near, n: Int, w: Int, isLeft: Boolean): DenseBlock = {
    val sent = context.send(near.matrix.whole)
    try Passes.crossDriver(far.rows.evaluated(context), sent, n, w, isLeft)
    finally sent.close()
  }

  /** A B, where the numbers of B's rows are A's columns. */
  def times[K](a: Value[K], b: Value[_]): Value[K] = (a, b) match {
    case (_, right: Near) => timesRight(a, right.matrix)
    case (left: Near, right: Far[_]) => cross(transposed(left), right).asInstanceOf[Value[K]]
    case (left: Far[K @unchecked], right: Far[_]) =>
      requireColumns(right)
      if (isSmall(right.m, right.n)) timesRight(left, collected(right, Repeated.Refused))
      else ShuffledProducts.pairs(context, left, transposedFar(right, Repeated.Refused))
  }

  /** A B', where the numbers of B's rows become columns. */
  def timesTransposed[K](a: Value[K], b: Value[_]): Value[K] = (a, b) match {
    case (_, right: Near) => timesRight(a, Products.transposed(right.matrix))
    case (left: Near, right: Far[_]) =>
      transposed(timesRight(right.asInstanceOf[Value[Any]], Products.transposed(left.matrix))).asInstanceOf[Value[K]]
    case (left: Far[K @unchecked], right: Far[_]) =>
      requireColumns(right)
      if (isSmall(right.m, right.n)) timesRight(left, Products.transposed(collected(right, Repeated.Refused)))
      else ShuffledProducts.pairs(context, left, right)
  }

  /** A', whose columns are the numbers of A's rows. Rows of one number are added: Mahout's aggregating transpose. */
  def transposed(a: Value[_]): Value[Int] = a match {
    case near: Near => Near(near.n.toLong, Math.toIntExact(near.m))(Products.transposed(near.matrix))
    case rows: Far[_] if isSmall(rows.m, rows.n) =>
      Keys.requireNumbers(rows.keys, "A'")
      Near(rows.n.toLong, rows.m.toInt)(Products.transposed(collected(rows, Repeated.Summed)))
    case rows: Far[_] => transposedFar(rows, Repeated.Summed)
  }

  private def transposedFar(a: Far[_], repeated: Repeated): Far[Int] = {
    Keys.requireNumbers(a.keys, "A'")
    ShuffledProducts.transposed(a.rows.evaluated(context), Math.toIntExact(a.m), a.n, repeated)
  }

  private def timesRight[K](a: Value[K], right: => DenseBlock): Value[K] = a match {
    case near: Near =>
      lazy val factor = right
      val p = factor.columnSize
      if (isSmall(near.m, p)) Near(near.m, p)(Products.times(near.matrix, factor)).asInstanceOf[Value[K]]
      else timesRight(far(near), factor).asInstanceOf[Value[K]]
    case Far(rows, m, _, keys) =>
      val factor = right
      Far(rows.times(factor), m, factor.columnSize, keys)
  }

  private def collected(a: Far[_], repeated: Repeated): DenseBlock =
    Passes.gathered(a.rows.evaluated(context), a.m, a.n, repeated)._1

  /** Labelled rows of one factor cannot be matched with columns of the other: by Mahout's contract such a plan is invalid. */
  private def requireColumns(right: Far[_]): Unit =
    require(
      Keys.areNumbers(right.keys),
      s"a product needs the rows of its second factor by their numbers, and rows with " +
        s"${right.keys.runtimeClass.getSimpleName} keys have no numbers (drm2IntKeyed gives them some)"
    )

  private def far[K](a: Value[K]): Far[K] = new Joins(context).far(a)

  private def isSmall(rows: Long, columns: Int): Boolean = rows.toDouble * columns <= context.driverEntries.toDouble
}
