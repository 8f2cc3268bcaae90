package org.ctmahout.samsara
package incore

import org.apache.mahout.math._
import org.apache.mahout.math.flavor.TraversingStructureEnum
import org.apache.mahout.math.scalabindings.MMul

/** Products of blocks with dense matrices. Storage may be float; arithmetic is always double. */
object Products {
  private def gemm: Gemm = Gemm.instance

  /** What multiplies here, for instance "vector kernel". */
  def blasName: String = gemm.name

  /** a b, for a small b. Its rows lie as far apart as the next product wants them. */
  def times(a: Block, b: DenseBlock): DenseBlock = {
    require(a.columnSize == b.rowSize, s"${a.columnSize} columns times ${b.rowSize} rows")
    val (k, n) = (a.columnSize, b.columnSize)
    val width = gemm.stride(n)
    val right = strided(b, 0, k, width)
    val c = new Array[Double](Math.multiplyExact(a.rowSize, width))
    a match {
      case sparse: SparseBlock =>
        SparseProducts.timesAdd(sparse, 0, a.rowSize, right, width, c)
        if (sparse.less ne null) SparseProducts.subtract(SparseProducts.rowTimes(sparse.less, right, width), c, a.rowSize)
      case _ =>
        for (tile <- Tile.of(a))
          gemm.multiplyAdd(tile.rows, n, k, tile.data, tile.at, tile.stride, 1, right, 0, c, tile.from * width, false)
    }
    new DenseBlock(a.rowSize, n, c, 0, width)
  }

  /** A running sum of a'b over blocks of the same rows. */
  final class Cross(k: Int, n: Int) {
    private val width = gemm.stride(n)
    private val total = new TwoLevelSum(Math.multiplyExact(k, width))

    def add(a: Block, b: DenseBlock): Unit = {
      require(a.rowSize == b.rowSize && a.columnSize == k && b.columnSize == n, "blocks of other shapes than declared")
      def right(from: Int, rows: Int) =
        if (b.isPaddedTo(width)) (b.data, b.offset + from * width) else (strided(b, from, rows, width), 0)
      a match {
        case sparse: SparseBlock =>
          val (data, at) = right(0, a.rowSize)
          SparseProducts.crossAdd(sparse, 0, a.rowSize, data, at, width, total.part)
          if (sparse.less ne null) {
            val sum = new Array[Double](width)
            SparseProducts.addRows(data, at, a.rowSize, sum)
            SparseProducts.subtractOuter(sparse.less, sum, total.part)
          }
          total.took(a.rowSize)
        case _ =>
          for (tile <- Tile.of(a)) {
            val (data, at) = right(tile.from, tile.rows)
            gemm.multiplyAdd(k, n, tile.rows, tile.data, tile.at, 1, tile.stride, data, at, total.part, 0, false)
            total.took(tile.rows)
          }
      }
    }

    /** k x n, row-major. */
    def sum: Array[Double] = compact(total.sum, k, n, width)
  }

  /** A running sum of a'a: half the work of [[Cross]]. */
  final class Gram(n: Int) {
    private val width = gemm.stride(n)
    private val total = new TwoLevelSum(Math.multiplyExact(n, width))

    def add(a: Block): Unit = {
      require(a.columnSize == n, "a block of another width than declared")
      for (tile <- Tile.strided(a, width)) {
        gemm.multiplyAdd(n, n, tile.rows, tile.data, tile.at, 1, width, tile.data, tile.at, total.part, 0, true)
        total.took(tile.rows)
      }
    }

    /** n x n, row-major, symmetric to the last bit. */
    def sum: Array[Double] = symmetric(compact(total.sum, n, n, width), n)
  }

  /** Running sums of y'y and of a'y for y = a z, made while some rows of y are in the cache. */
  private[samsara] class SketchSums(z: DenseBlock) {
    protected val (n, r) = (z.rowSize, z.columnSize)
    protected val width: Int = gemm.stride(r)
    private lazy val right = strided(z, 0, n, width)
    private val gram = new TwoLevelSum(r * width)
    private val cross = new TwoLevelSum(Math.multiplyExact(n, width))
    private var y = Array.empty[Double]

    def add(a: Block): Unit = added(a, None)

    /** The same, and returns its y. */
    def times(a: Block): Block = {
      val all = new DenseBlock(a.rowSize, r, new Array[Double](Math.multiplyExact(a.rowSize, width)), 0, width)
      added(a, Some(all))
      all
    }

    private def added(a: Block, all: Option[DenseBlock]): Unit = {
      require(a.columnSize == n, "a block of another width than declared")
      def keep(y: Array[Double], from: Int, rows: Int) =
        for (whole <- all) System.arraycopy(y, 0, whole.data, from * width, rows * width)
      a match {
        case sparse: SparseBlock =>
          for ((from, rows) <- Tile.cuts(a, Tile.Sparse))
            addRows(rows) { (y, cross) =>
              SparseProducts.timesAdd(sparse, from, rows, right, width, y)
              if (sparse.less ne null) {
                SparseProducts.subtract(productOf(sparse.less), y, rows)
                SparseProducts.addRows(y, 0, rows, ySum)
              }
              SparseProducts.crossAdd(sparse, from, rows, y, 0, width, cross)
              keep(y, from, rows)
            }
        case _ =>
          for (tile <- Tile.of(a))
            addRows(tile.rows) { (y, cross) =>
              gemm.multiplyAdd(tile.rows, r, n, tile.data, tile.at, tile.stride, 1, right, 0, y, 0, false)
              gemm.multiplyAdd(n, r, tile.rows, tile.data, tile.at, 1, tile.stride, y, 0, cross, 0, false)
              keep(y, tile.from, tile.rows)
            }
      }
    }

    /** The row subtracted from the sparse blocks added last, its product with z, and the sum of their y. */
    private var less: Array[Double] = null
    private var lessTimes = Array.empty[Double]
    private lazy val ySum = new Array[Double](width)

    private def productOf(row: Array[Double]): Array[Double] = {
      if (row ne less) {
        settle()
        less = row
        lessTimes = SparseProducts.rowTimes(row, right, width)
      }
      lessTimes
    }

    /** Corrects a'y for the row subtracted from sparse blocks: once for all of them, since it costs as much as a block of rows. */
    private def settle(): Unit = if (less ne null) {
      SparseProducts.subtractOuter(less, ySum, cross.part)
      java.util.Arrays.fill(ySum, 0.0)
    }

    /** `compute` adds some rows of y to zeros, and their part of a'y to the sum; rows are `width` apart. */
    protected def addRows(rows: Int)(compute: (Array[Double], Array[Double]) => Unit): Unit = {
      if (y.length < rows * width) y = new Array[Double](rows * width)
      else java.util.Arrays.fill(y, 0, rows * width, 0.0)
      compute(y, cross.part)
      gemm.multiplyAdd(r, r, rows, y, 0, 1, width, y, 0, gram.part, 0, true)
      gram.took(rows)
      cross.took(rows)
    }

    /** The r x r and the n x r sums, one behind the other, row-major. */
    def sums: Array[Double] = {
      settle()
      val all = new Array[Double](Math.addExact(r * r, Math.multiplyExact(n, r)))
      packed(gram.sum, r, r, width, all, 0)
      packed(cross.sum, n, r, width, all, r * r)
      symmetric(all, r)
    }
  }

  /** a'b, for matrices on the driver. */
  def transposedTimes(a: DenseBlock, b: DenseBlock): DenseBlock = {
    val cross = new Cross(a.columnSize, b.columnSize)
    cross.add(a, b)
    new DenseBlock(a.columnSize, b.columnSize, cross.sum)
  }

  /** Fills what is below the diagonal of n x n from what is above; there may be more behind. */
  private def symmetric(upper: Array[Double], n: Int): Array[Double] = {
    for (i <- 0 until n; j <- 0 until i) upper(i * n + j) = upper(j * n + i)
    upper
  }

  private def compact(padded: Array[Double], rows: Int, columns: Int, width: Int): Array[Double] =
    if (width == columns) padded
    else {
      val all = new Array[Double](rows * columns)
      packed(padded, rows, columns, width, all, 0)
      all
    }

  private def packed(padded: Array[Double], rows: Int, columns: Int, width: Int, into: Array[Double], at: Int): Unit =
    for (i <- 0 until rows) System.arraycopy(padded, i * width, into, at + i * columns, columns)

  /** Some rows of b, `width` apart; b's own array if it is like that already. */
  private def strided(b: DenseBlock, from: Int, rows: Int, width: Int): Array[Double] =
    if (from == 0 && b.offset == 0 && b.isPaddedTo(width)) b.data
    else {
      val all = new Array[Double](rows * width)
      b.copyRows(from, rows, all, width)
      all
    }

  /** Any matrix of Mahout's as a block; the same object if it is one. */
  def block(m: Matrix): Block = m match {
    case b: Block => b
    case other => dense(other)
  }

  /** Any matrix of Mahout's as a block of doubles. */
  def dense(m: Matrix): DenseBlock = m match {
    case d: DenseBlock => d
    case b: Block => new DenseBlock(b.rowSize, b.columnSize, b.toArray)
    case view if view.getFlavor.getStructure == TraversingStructureEnum.BLOCKIFIED => RandomViews.materialised(view)
    case other => copy(other)
  }

  def transposed(m: DenseBlock): DenseBlock = copy(m.transpose())

  private[samsara] def copy(m: Matrix): DenseBlock = {
    val c = new DenseBlock(m.rowSize, m.columnSize)
    for (i <- 0 until m.rowSize; j <- 0 until m.columnSize) c.setQuick(i, j, m.getQuick(i, j))
    c
  }

  /** The in-core product a b that Mahout's closures ask for: dense operands by the engine, others by Mahout itself. */
  def inCore(a: Matrix, b: Matrix, into: Option[Matrix]): Matrix = {
    def sparse(m: Matrix) = m.isInstanceOf[DiagonalMatrix] || !m.getFlavor.isDense
    if (sparse(a) || sparse(b)) MMul(a, b, into)
    else {
      val product = a match {
        case _: Identity => dense(b)
        case t: TransposedMatrixView => transposedTimes(dense(Matrices.transposedView(t)), dense(b))
        case _ => times(block(a), dense(b))
      }
      into.fold[Matrix](product)(_.assign(product))
    }
  }
}
