package org.ctmahout.samsara
package incore

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.logical.OpAewUnaryFunc

/** Functions of values, applied to every value of a block. */
private[samsara] object Elementwise {
  def apply(m: Matrix, f: Double => Double): DenseBlock = {
    val out = new DenseBlock(m.rowSize, m.columnSize, Products.block(m).toArray)
    var i = 0
    while (i < out.data.length) { out.data(i) = f(out.data(i)); i += 1 }
    out
  }

  /** Of pairs of values of two blocks of one shape. */
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

  /** The operator between two matrices, or a matrix and a number, by Mahout's name. */
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
