package org.ctmahout.samsara
package plan

import scala.reflect.ClassTag

import org.apache.mahout.math.{Matrix, Vector}
import org.apache.mahout.math.drm.DrmLike
import org.apache.mahout.math.drm.logical._
import org.ctmahout.samsara.blocks.{Far, Keys, LazyProduct, Near, Passes, ShuffledProducts, Value}
import org.ctmahout.samsara.incore.{Elementwise, Products, Slices}

/** The value of each plan of Mahout's: a case for each operator of its algebra, before or after its optimiser's rewriting. */
private[samsara] final class Plans(context: SamsaraContext) {
  private val products = new Multiplication(context)
  private val joins = new Joins(context)

  // Mahout's operators know the type of their keys at run time only; so it is cast here, once, at the end.
  def value[K](plan: DrmLike[K]): Value[K] = (plan match {
    case d: DistributedRows[K @unchecked] => d.value
    case d: DriverRows => new Near(d.nrow, d.ncol, d.matrix)

    case OpAtA(a) => products.gram(value(a))
    case OpAtB(a, b) => products.cross(value(a), value(b))
    case OpABt(Transposed(a), OpAt(b)) => products.cross(value(a), value(b))
    case OpAB(Transposed(a), b) => products.cross(value(a), value(b))
    case OpABAnyKey(Transposed(a), b) => products.cross(value(a), value(b))
    case OpTimesRightMatrix(Transposed(a), right) => products.cross(value(a), Near(right))
    case OpAx(Transposed(a), x) => products.cross(value(a), column(x))
    case OpAtx(a, x) => products.cross(value(a), column(x))

    case OpAx(a, x) => products.times(value(a), column(x))
    case OpTimesRightMatrix(a, right) => products.times(value(a), Near(right))
    case OpTimesLeftMatrix(left, a) => products.times(Near(left), value(a))
    case OpABt(a, OpAt(b)) => products.times(value(a), value(b))
    case OpABt(a, b) => products.timesTransposed(value(a), value(b))
    case OpAB(a, b) => products.times(value(a), value(b))
    case OpABAnyKey(a, b) => products.times(value(a), value(b))
    case Transposed(a) => products.transposed(value(a))

    case op: OpMapBlock[_, _] => mapBlock(op.asInstanceOf[OpMapBlock[Any, K]])
    case op @ OpAewUnaryFunc(a, _, _) => elementwise(value(a), Elementwise.composed(List(op)))
    case OpAewUnaryFuncFusion(a, ops) => elementwise(value(a), Elementwise.composed(ops))
    case OpAewScalar(a, scalar, name) =>
      val f = Elementwise.operator(name)
      elementwise(value(a), f(_, scalar))
    case OpAewB(a, b, name) =>
      val f = Elementwise.operator(name)
      joins.combined(value(a), value(b), a.ncol)(Elementwise(_, _, f))
    case OpCbind(a, b) => joins.combined(value(a), value(b), a.ncol + b.ncol)(Slices.beside)
    case OpCbindScalar(a, x, isLeft) => withColumn(value(a), x, isLeft)
    case OpRbind(a, b) => joins.stacked(value(a), value(withoutShift(b)))
    case OpRowRange(a, range) => rows(value(a), range)
    case OpPar(a, min, exact) => partitioned(value(a), min, exact)
    case other => SparkEngine.unsupported(other.getClass.getSimpleName)
  }).asInstanceOf[Value[K]]

  private object Transposed {
    def unapply(plan: DrmLike[_]): Option[DrmLike[_]] = plan match {
      case OpAt(a) => Some(a)
      case OpAtAnyKey(a) => Some(a)
      case _ => None
    }
  }

  private def column(x: Vector): Near = Near(x.size.toLong, 1)(new DenseBlock(x.size, 1, Array.tabulate(x.size)(x.getQuick)))

  /** B of an rbind without the shift of its row numbers, which Mahout's optimiser adds again each time it sees a plan. */
  @annotation.tailrec
  private def withoutShift[K](b: DrmLike[K]): DrmLike[K] = b match {
    case OpMapBlock(inner, f, _, _, _) if Closures.meaning(f) == Closures.RowShift => withoutShift(inner.asInstanceOf[DrmLike[K]])
    case other => other
  }

  private def mapBlock[S, R](op: OpMapBlock[S, R]): Value[R] = value(op.A) match {
    case near: Near =>
      // The keys are known only once the function has run, and they decide whether the result may stay on the driver.
      val all = (Array.range(0, near.m.toInt).asInstanceOf[Array[S]], near.matrix: Matrix)
      val (keys, rows) = Passes.mapped(all, op.bmf, op.ncol, op.keyClassTag)
      keys match {
        case numbers: Array[Int] if numbers.sameElements(Array.range(0, near.m.toInt)) => Near(rows).asInstanceOf[Value[R]]
        case _ =>
          implicit val tag: ClassTag[R] = op.keyClassTag
          val far = context.distributed[R](rows, context.parallelism, (from, count) => keys.slice(from, from + count))
          Far.computed(far, op.nrow, op.ncol, tag)
      }
    case a: Far[S @unchecked] =>
      // dqrThin and dssvd keep the keys.
      def rows(made: LazyProduct[S]) = Far(made.asInstanceOf[LazyProduct[R]], op.nrow, op.ncol, op.keyClassTag)
      Closures.meaning(op.bmf) match {
        case Closures.TriangularSolve => rows(a.rows.basis(context, a.m, a.n).rows)
        case Closures.RandomProjection if a.rows.isStored => rows(a.rows.times(Closures.factor(op.bmf, a.keys, a.n)))
        case _ =>
          val tag = if (op.identicallyPartitioned) a.rows.tag else LazyProduct.newTag()
          Far.computed(Passes.map(a.rows.evaluated(context), op.bmf, op.ncol, op.keyClassTag), tag, op.nrow, op.ncol, op.keyClassTag)
      }
  }

  private def elementwise[K](a: Value[K], f: Double => Double): Value[K] = each(a, a.n)(Elementwise(_, f))

  /** `f` of each block of rows. */
  private def each[K](a: Value[K], width: Int)(f: DenseBlock => DenseBlock): Value[K] = a match {
    case near: Near => Near(near.m, width)(f(near.matrix)).asInstanceOf[Value[K]]
    case Far(rows, m, _, keys) =>
      Far.computed(rows.evaluated(context).map { case (k, block) => (k, f(Products.dense(block)): Matrix) }, rows.tag, m, width, keys)
  }

  private def withColumn[K](a: Value[K], x: Double, isLeft: Boolean): Value[K] = each(a, a.n + 1) { block =>
    val column = new DenseBlock(block.rowSize, 1, Array.fill(block.rowSize)(x))
    if (isLeft) Slices.beside(column, block) else Slices.beside(block, column)
  }

  /** Rows of these numbers, numbered anew. */
  private def rows(a: Value[Int], range: Range): Value[Int] = a match {
    case near: Near => Near(range.length.toLong, near.n)(Slices.rows(near.matrix, range.toArray))
    case Far(rows, m, n, keys) =>
      val some = rows.evaluated(context).mapParts[Int] { (_, blocks) =>
        for {
          (keys, block) <- blocks
          numbers = Keys.numbers(keys, m)
          which = numbers.indices.filter(i => range.contains(numbers(i))).toArray
          if which.nonEmpty
        } yield (which.map(i => (numbers(i) - range.start) / range.step), Slices.rows(Products.dense(block), which))
      }
      Far.computed(some, range.length.toLong, n, keys)
  }

  /** Repartitioned: at least or exactly so many partitions, or as many as there are cores if neither is given. */
  def partitioned[K](a: Value[K], min: Int, exact: Int): Value[K] = a match {
    case near: Near => near.asInstanceOf[Value[K]]
    case Far(rows, m, n, keys) =>
      val now = rows.evaluated(context)
      val wanted = if (exact > 0) exact else if (min > 0) math.max(min, now.parts) else context.parallelism
      if (wanted == now.parts) a
      else if (wanted < now.parts) Far.computed(now.coalesced(wanted), m, n, keys)
      else Far.computed(ShuffledProducts.spread(now, wanted), m, n, keys)
  }
}
