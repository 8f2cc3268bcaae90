package org.ctmahout.samsara
package incore

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

  /** A row of C += the rows of B that are in the columns `indices(e)`, times `values(e)`, for e from `from` up to but not `to`. */
  def addSparseTimes(
      values: Array[Double], indices: Array[Int], from: Int, to: Int,
      b: Array[Double],
      c: Array[Double], cAt: Int, width: Int): Unit

  /** A row of C += x times a row of B. */
  def addMultiple(x: Double, b: Array[Double], bAt: Int, c: Array[Double], cAt: Int, width: Int): Unit

  /** Whether there is a kernel for single precision, too: SingleKernel. */
  def hasSingle: Boolean
}

private[samsara] object Gemm {
  lazy val instance: Gemm =
    if (ModuleLayer.boot().findModule("jdk.incubator.vector").isEmpty) new NetlibGemm("")
    else obstacle(name => Option(System.getProperty(name)).getOrElse(""), flag).fold[Gemm](VectorGemm)(why => new NetlibGemm(s" ($why)"))

  /**
   * Why the vector module, which is there, would be slower than plain Java on this JVM: its compiler has to turn vectors into
   * instructions; where it does not, each vector is an object, and products are ten to a thousand times slower. What the JVM says
   * of itself never changes, where a stopwatch would choose differently on a busy machine; and the choice decides the bits of results.
   *
   * @param flag
   *   the value of an option of HotSpot's
   */
  def obstacle(property: String => String, flag: String => Option[String]): Option[String] = {
    def isOff(name: String) = flag(name).contains("false")
    if (property("java.vm.info").contains("interpreted mode")) Some("interpreted")
    else if (!Seq("OpenJDK", "HotSpot").exists(property("java.vm.name").contains(_)) || property("java.vm.name").contains("J9"))
      Some(s"no vectors on ${property("java.vm.name")}")
    else if (flag("TieredStopAtLevel").exists(_ != "4") || flag("UseJVMCICompiler").contains("true")) Some("no C2 compiler")
    else if (isOff("EnableVectorSupport")) Some("EnableVectorSupport is off")
    else if (isOff("UseFMA")) Some("no FMA")
    else None
  }

  private def flag(name: String): Option[String] =
    try {
      val bean = java.lang.management.ManagementFactory.getPlatformMXBean(classOf[com.sun.management.HotSpotDiagnosticMXBean])
      Option(bean).map(_.getVMOption(name).getValue)
    } catch { case _: IllegalArgumentException => None } // this JVM has no such option
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
  override def addSparseTimes(
      values: Array[Double], indices: Array[Int], from: Int, to: Int,
      b: Array[Double],
      c: Array[Double], cAt: Int, width: Int): Unit = VectorKernel.addSparseTimes(values, indices, from, to, b, c, cAt, width)
  override def addMultiple(x: Double, b: Array[Double], bAt: Int, c: Array[Double], cAt: Int, width: Int): Unit =
    VectorKernel.addMultiple(x, b, bAt, c, cAt, width)
}

/** @param why why the vector kernel is not used, as a part of the name */
private[samsara] final class NetlibGemm(why: String) extends Gemm {
  private lazy val blas: BLAS = JavaBLAS.getInstance

  override def name: String = blas.getClass.getSimpleName + why
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
        "N",
        if (aTerm == 1) "N" else "T",
        columns,
        rows,
        terms,
        1.0,
        b,
        bAt,
        columns,
        a,
        aAt,
        math.max(1, if (aTerm == 1) aRow else aTerm),
        1.0,
        c,
        cAt,
        columns)

  override def addSparseTimes(
      values: Array[Double], indices: Array[Int], from: Int, to: Int,
      b: Array[Double],
      c: Array[Double], cAt: Int, width: Int): Unit = {
    var e = from
    while (e < to) { addMultiple(values(e), b, indices(e) * width, c, cAt, width); e += 1 }
  }
  override def addMultiple(x: Double, b: Array[Double], bAt: Int, c: Array[Double], cAt: Int, width: Int): Unit = {
    var j = 0
    while (j < width) { c(cAt + j) += x * b(bAt + j); j += 1 }
  }
}
