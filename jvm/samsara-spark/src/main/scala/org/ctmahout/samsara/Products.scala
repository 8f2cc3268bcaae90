package org.ctmahout.samsara

import dev.ludovic.netlib.blas.{BLAS, JavaBLAS}
import org.apache.mahout.math._
import org.apache.mahout.math.flavor.TraversingStructureEnum
import org.apache.mahout.math.scalabindings.MMul

/** Dense products of blocks. Storage may be float; arithmetic is always double. */
object Products {

  /** Rows widened from float at a time: 256 rows of 300 columns stay in the second-level cache. */
  private val TileRows = 256

  // The Java BLAS that Spark carries uses the vector module where that is there, and plain loops where it is not.
  private lazy val blas: BLAS = JavaBLAS.getInstance

  /** What multiplies here, for instance "VectorBLAS". */
  def blasName: String = blas.getClass.getSimpleName

  /** a b, for a small b. */
  def times(a: Block, b: DenseBlock): DenseBlock = {
    require(a.columnSize == b.rowSize, s"${a.columnSize} columns times ${b.rowSize} rows")
    val n = b.columnSize
    val c = new DenseBlock(a.rowSize, n)
    tiles(a) { (from, rows, data, offset, stride) =>
      gemm("N", "N", rows, n, a.columnSize, data, offset, stride, b.data, b.offset, b.stride, 0.0, c.data, from * n, n)
    }
    c
  }

  /** A running sum of a'b over blocks of the same rows. */
  final class Cross(k: Int, n: Int) {
    val sum = new Array[Double](Math.multiplyExact(k, n))

    def add(a: Block, b: DenseBlock): Unit = {
      require(a.rowSize == b.rowSize && a.columnSize == k && b.columnSize == n, "blocks of other shapes than declared")
      tiles(a) { (from, rows, data, offset, stride) =>
        val start = b.offset + from * b.stride
        gemm("T", "N", k, n, rows, data, offset, stride, b.data, start, b.stride, 1.0, sum, 0, n)
      }
    }
  }

  /** Hands `a` over in parts: whole if it is of doubles, else some rows at a time. */
  private def tiles(a: Block)(use: (Int, Int, Array[Double], Int, Int) => Unit): Unit = a match {
    case d: DenseBlock => if (d.rowSize > 0) use(0, d.rowSize, d.data, d.offset, d.stride)
    case f: FloatBlock =>
      val tile = new Array[Double](math.min(TileRows, f.rowSize) * f.columnSize)
      for (from <- 0 until f.rowSize by TileRows) {
        val rows = math.min(TileRows, f.rowSize - from)
        f.copyRows(from, rows, tile)
        use(from, rows, tile, 0, f.columnSize)
      }
  }

  /** c (m x n) = op(a) op(b) + beta c, row-major: BLAS is column-major, so it is asked for c' = op(b)' op(a)'. */
  private def gemm(
      opA: String, opB: String, m: Int, n: Int, k: Int,
      a: Array[Double], aOffset: Int, aStride: Int,
      b: Array[Double], bOffset: Int, bStride: Int,
      beta: Double, c: Array[Double], cOffset: Int, cStride: Int): Unit =
    if (m > 0 && n > 0)
      blas.dgemm(opB, opA, n, m, k, 1.0, b, bOffset, math.max(1, bStride), a, aOffset, math.max(1, aStride), beta, c, cOffset, cStride)

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

  /** The in-core product a b that Mahout's closures ask for: dense operands here, others as Mahout does it itself. */
  def inCore(a: Matrix, b: Matrix, into: Option[Matrix]): Matrix = {
    def sparse(m: Matrix) = m.isInstanceOf[DiagonalMatrix] || !m.getFlavor.isDense
    if (sparse(a) || sparse(b)) MMul(a, b, into)
    else {
      val product = a match {
        case t: TransposedMatrixView =>
          val (left, right) = (block(Matrices.transposedView(t)), dense(b))
          val cross = new Cross(a.rowSize, b.columnSize)
          cross.add(left, right)
          new DenseBlock(a.rowSize, b.columnSize, cross.sum)
        case _ => times(block(a), dense(b))
      }
      into.fold[Matrix](product)(_.assign(product))
    }
  }
}

/**
 * Mahout's random matrices are functions of (row, column), evaluated at each access. dssvd multiplies every block of A
 * by one and the same: so it is written out once in a process, not hashed again for each row.
 */
private object RandomViews {
  private final case class Solid(key: Seq[Long], block: DenseBlock)
  @volatile private var last = new java.lang.ref.SoftReference[Solid](null)

  def materialised(view: Matrix): DenseBlock = {
    val key = fingerprint(view)
    val known = last.get
    if (known != null && known.key == key) known.block
    else {
      val solid = Solid(key, Products.copy(view))
      last = new java.lang.ref.SoftReference(solid)
      solid.block
    }
  }

  /** Shape and sixteen entries: two seeds that agree in all of them do not happen. */
  private def fingerprint(m: Matrix): Seq[Long] = {
    val (rows, columns) = (m.rowSize, m.columnSize)
    if (rows == 0 || columns == 0) Seq(rows.toLong, columns.toLong)
    else {
      val entries = for (t <- 0 until 16) yield {
        val (i, j) = ((t * 2654435761L) % rows, (t * 40503L + 7) % columns)
        java.lang.Double.doubleToRawLongBits(m.getQuick(i.toInt, j.toInt))
      }
      Seq(rows.toLong, columns.toLong) ++ entries
    }
  }
}
