package org.ctmahout.samsara

import java.lang.invoke.SerializedLambda

import scala.reflect.ClassTag

import org.apache.mahout.math.{AbstractMatrix, DenseVector, Matrix, Vector}
import org.apache.mahout.math.drm.{BCast, BlockMapFunc}
import org.apache.mahout.math.drm.logical.OpAewUnaryFunc
import org.apache.mahout.math.flavor.MatrixFlavor

/**
 * The block functions of Mahout's that multiply each row by one and the same small matrix, which the engine can carry along
 * as a factor. A function that is not recognised is run as it is, with the same result, more slowly.
 */
private[samsara] object Closures {
  sealed trait Meaning

  /** dqrThin's Q = Y R^-1, solved row by row. */
  case object TriangularSolve extends Meaning

  /** dssvd's Y = A Omega. */
  case object Sketch extends Meaning

  /** What Mahout's optimiser puts on B of a rbind, anew each time it sees the plan. */
  case object RowShift extends Meaning
  case object Unknown extends Meaning

  private val Known = Map(
    ("org/apache/mahout/math/decompositions/DQR$", "dqrThin") -> TriangularSolve,
    ("org/apache/mahout/math/decompositions/DSSVD$", "dssvd") -> Sketch,
    ("org/apache/mahout/math/drm/DistributedEngine$", "pass1") -> RowShift)

  /** Scala closures are Java lambdas; what one serialises to names the method that holds its body. */
  def meaning(f: AnyRef): Meaning =
    try {
      val method = f.getClass.getDeclaredMethod("writeReplace")
      method.setAccessible(true)
      method.invoke(f) match {
        case lambda: SerializedLambda =>
          Known
            .collectFirst { case ((owner, name), m) if lambda.getImplClass == owner && lambda.getImplMethodName.contains(name) => m }
            .getOrElse(Unknown)
        case _ => Unknown
      }
    } catch { case _: ReflectiveOperationException | _: RuntimeException => Unknown }

  /** The matrix that a function multiplies rows of n columns by: what it makes of the identity. */
  def factor[S, R](f: BlockMapFunc[S, R], keys: ClassTag[S], n: Int): DenseBlock =
    Products.dense(f((keys.newArray(n), new Identity(n)))._2)
}

/** The identity, which is not written out: [[Products]] know what comes of it, and for whatever else it has its values. */
private[samsara] final class Identity(n: Int) extends AbstractMatrix(n, n) {
  override def getQuick(i: Int, j: Int): Double = if (i == j) 1.0 else 0.0
  override def setQuick(i: Int, j: Int, value: Double): Unit = throw new UnsupportedOperationException("it is the identity")
  override def viewPart(start: Array[Int], size: Array[Int]): Matrix = DenseBlock.identity(n).viewPart(start, size)
  override def like(): Matrix = new DenseBlock(n, n)
  override def like(r: Int, c: Int): Matrix = new DenseBlock(r, c)
  override def clone(): Matrix = DenseBlock.identity(n)
  override def getFlavor: MatrixFlavor = MatrixFlavor.DENSELIKE
  override def assignColumn(column: Int, v: Vector): Matrix = throw new UnsupportedOperationException("it is the identity")
  override def assignRow(row: Int, v: Vector): Matrix = throw new UnsupportedOperationException("it is the identity")
}

/** A function of one value, applied to each of a block. */
private[samsara] object Elementwise {
  def apply(m: Matrix, f: Double => Double): DenseBlock = {
    val out = new DenseBlock(m.rowSize, m.columnSize, Products.block(m).toArray)
    var i = 0
    while (i < out.data.length) { out.data(i) = f(out.data(i)); i += 1 }
    out
  }

  /** One by one of two of the same shape. */
  def apply(a: DenseBlock, b: DenseBlock, f: (Double, Double) => Double): DenseBlock = {
    val (out, other) = (new DenseBlock(a.rowSize, a.columnSize, a.toArray), b.toArray)
    var i = 0
    while (i < other.length) { out.data(i) = f(out.data(i), other(i)); i += 1 }
    out
  }

  /**
   * Functions one after the other, the last of the list first, as Mahout composes them; zeros stay where a function spares
   * them.
   */
  def composed(ops: List[OpAewUnaryFunc[_]]): Double => Double = {
    val functions = ops.reverse.map(op => (op.f, op.evalZeros)).toArray // no plan, which would not travel
    x => functions.foldLeft(x) { case (y, (f, evalZeros)) => if (evalZeros || y != 0.0) f(y) else y }
  }

  /** Mahout's names of what stands between two matrices, or a matrix and a number. */
  def operator(name: String): (Double, Double) => Double = name match {
    case "+" => (x, y) => x + y
    case "-" => (x, y) => x - y
    case "*" => (x, y) => x * y
    case "/" => (x, y) => x / y
    case "-:" => (x, y) => y - x
    case "/:" => (x, y) => y / x
    case other => SparkEngine.unsupported(s"the operator $other")
  }
}

/** Mahout's vectors are not Java-serialisable; their values are. */
private[samsara] final class VectorBroadcast(values: BCast[Array[Double]]) extends BCast[Vector] with Serializable {
  @transient private lazy val vector: Vector = new DenseVector(values.value, true)
  override def value: Vector = vector
  override def close(): Unit = values.close()
}
