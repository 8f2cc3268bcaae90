package org.ctmahout.samsara

import dev.ludovic.netlib.blas.{BLAS, JavaBLAS}

/** Sums of products of dense row-major doubles: by vectors where Java has them, else by the Java BLAS that Spark carries. */
private[samsara] sealed trait Gemm {

  def name: String

  /** How far apart rows of this many columns have to be. */
  def stride(columns: Int): Int

  /**
   * C += op(A) B, for B and C with rows `stride(columns)` apart. Element (i, k) of op(A) is a(aAt + i aRow + k aTerm), and
   * one of aRow and aTerm is 1.
   *
   * @param upper
   *   C is symmetric: what lies below its diagonal may be left as it is
   */
  def multiplyAdd(
      rows: Int, columns: Int, terms: Int,
      a: Array[Double], aAt: Int, aRow: Int, aTerm: Int,
      b: Array[Double], bAt: Int,
      c: Array[Double], cAt: Int,
      upper: Boolean): Unit

  /** Whether there is a kernel for single precision, too: SingleKernel. */
  def hasSingle: Boolean
}

private[samsara] object Gemm {
  lazy val instance: Gemm =
    if (ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent) VectorGemm else NetlibGemm
}

/** The kernel of this project. */
private[samsara] object VectorGemm extends Gemm {
  override def name: String = "vector kernel"
  override def hasSingle: Boolean = true
  override def stride(columns: Int): Int = VectorKernel.padded(columns)
  override def multiplyAdd(
      rows: Int, columns: Int, terms: Int,
      a: Array[Double], aAt: Int, aRow: Int, aTerm: Int,
      b: Array[Double], bAt: Int,
      c: Array[Double], cAt: Int,
      upper: Boolean): Unit = {
    val width = stride(columns)
    VectorKernel.multiplyAdd(rows, width, terms, a, aAt, aRow, aTerm, b, bAt, width, c, cAt, width, upper)
  }
}

private[samsara] object NetlibGemm extends Gemm {
  private lazy val blas: BLAS = JavaBLAS.getInstance

  override def name: String = blas.getClass.getSimpleName
  override def hasSingle: Boolean = false
  override def stride(columns: Int): Int = columns
  // BLAS is column-major: it is asked for C' += B' op(A)'.
  override def multiplyAdd(
      rows: Int, columns: Int, terms: Int,
      a: Array[Double], aAt: Int, aRow: Int, aTerm: Int,
      b: Array[Double], bAt: Int,
      c: Array[Double], cAt: Int,
      upper: Boolean): Unit =
    if (rows > 0 && columns > 0 && terms > 0)
      blas.dgemm(
        "N", if (aTerm == 1) "N" else "T", columns, rows, terms, 1.0, b, bAt, columns,
        a, aAt, math.max(1, if (aTerm == 1) aRow else aTerm), 1.0, c, cAt, columns)
}
