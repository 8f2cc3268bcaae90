package org.ctmahout.bridge.dataframes

import scala.collection.mutable

import org.apache.mahout.math.Matrix
import org.ctmahout.bridge.SparkInternals.InternalRow
import org.ctmahout.bridge.exchange.{BlockBuilder, Values}
import org.ctmahout.samsara.{DenseBlock, FloatBlock, SparseBlock}

/** What a partition's rows are put into: blocks, up to the first row that cannot be in a matrix. */
private[dataframes] sealed trait BlockOrUnfitRow extends Serializable

/**
 * Rows of one group side by side.
 *
 * @param group
 *   a value of the group column; [[FrameBlocks.NoGroup]] without one
 * @param ids
 *   one for each row; null without an id column, since Spark would look at each to say how large the block is
 * @param values
 *   row-major, Array[Float] or Array[Double]; or SparseRows
 */
private[dataframes] final class NamedBlock(
    val group: AnyRef, val ids: Array[AnyRef], val rows: Int, val columns: Int, val values: AnyRef, val squaredNorm: Double)
    extends BlockOrUnfitRow {

  /** As the engine wants it: wrapped, not copied. */
  def keyed: (Array[AnyRef], Matrix) = {
    val keys = if (ids eq null) new Array[AnyRef](rows) else ids
    values match {
      case floats: Array[Float] => (keys, new FloatBlock(rows, columns, floats))
      case sparse: SparseRows => (keys, new SparseBlock(rows, columns, sparse.starts, sparse.indices, sparse.values))
      case doubles => (keys, new DenseBlock(rows, columns, doubles.asInstanceOf[Array[Double]]))
    }
  }
}

/** Rows of which only what is not zero is kept: of row i the values from `starts(i)` to `starts(i + 1)`, and their columns. */
private[dataframes] final class SparseRows(val starts: Array[Int], val indices: Array[Int], val values: Array[Double]) extends Serializable

/**
 * A row that cannot be in a matrix, at this place in its partition.
 *
 * @param fields
 *   those of the error, but for the row
 */
private[dataframes] final case class UnfitRow(place: Long, id: Option[String], code: String, fields: Seq[(String, Any)])
    extends BlockOrUnfitRow

/** Cuts the rows of a partition into blocks, and checks each row while it is in the processor's cache anyway. */
private[dataframes] final class FrameBlocks[T](columns: MatrixColumns, values: RowValues[T]) extends Serializable {
  import FrameBlocks._

  def of(rows: Iterator[InternalRow]): Iterator[BlockOrUnfitRow] = new Iterator[BlockOrUnfitRow] {
    private val ready = mutable.Queue.empty[BlockOrUnfitRow]
    private val builders = mutable.LinkedHashMap.empty[(AnyRef, Boolean), Builder]
    private var (place, held, isBad) = (0L, 0L, false)
    private var width = -1

    override def hasNext: Boolean = {
      while (ready.isEmpty && !isBad && rows.hasNext) add(rows.next())
      if (ready.isEmpty && !isBad) drain()
      ready.nonEmpty
    }
    override def next(): BlockOrUnfitRow = if (hasNext) ready.dequeue() else Iterator.empty.next()

    private def add(row: InternalRow): Unit = {
      val group = columns.group.fold[AnyRef](NoGroup)(_.of(row))
      val id = columns.id.fold[AnyRef](null)(_.of(row))
      def bad(code: String, fields: (String, Any)*): Unit = {
        ready += UnfitRow(place, Option(id).map(_.toString), code, fields)
        isBad = true
      }
      val isNameless = Seq(columns.group -> group, columns.id -> id).collectFirst { case (Some(c), null) => c.field.name }
      def check[V](n: Int, a: Array[V], kind: Values[V], column: Int => Int)(put: Double => Unit): Unit = {
        if (width < 0 && n > 0) width = n
        val square = kind.squaredNorm(a)
        if (n != width) bad("CTM_DATAFRAME_WIDTH", "given" -> n, "expected" -> math.max(width, 1))
        // An infinite square may also come from a finite value beyond 1e154.
        else if (!java.lang.Double.isFinite(square) && !kind.allFinite(a))
          bad("CTM_DATAFRAME_NOT_FINITE", "column" -> values.column(column(notFinite(a, kind))))
        else put(square)
      }
      val sparse = if (isNameless.isEmpty) values.sparse(row) else None
      (isNameless, sparse) match {
        case (Some(name), _) => bad("CTM_DATAFRAME_NULL", "column" -> name)
        case (_, Some(some)) => check(some.size, some.values, Values.Doubles, some.indices(_))(add(sparseBuilder(group), id, some, _))
        case _ =>
          values.of(row) match {
            case None => bad("CTM_DATAFRAME_NULL", "column" -> values.nullColumn(row))
            case Some(a) =>
              check(java.lang.reflect.Array.getLength(a), a, values.kind, identity)(add(denseBuilder(group), id, a, _))
          }
      }
      place += 1
    }

    private def denseBuilder(group: AnyRef) =
      builders.getOrElseUpdate((group, false), new DenseBuilder(group, width, values.kind)).asInstanceOf[DenseBuilder[T]]

    private def sparseBuilder(group: AnyRef) =
      builders.getOrElseUpdate((group, true), new SparseBuilder(group, width)).asInstanceOf[SparseBuilder]

    private def add[R](builder: Builder { type Row = R }, id: AnyRef, row: R, square: Double): Unit = {
      held -= builder.bytes
      builder.add(id, row, square)
      if (builder.isFull) {
        builders -= ((builder.group, builder.isSparse))
        ready += builder.take()
      } else {
        held += builder.bytes
        if (held > Bytes) drain()
      }
    }

    private def drain(): Unit = {
      builders.values.foreach(builder => ready += builder.take())
      builders.clear()
      held = 0
    }
  }

  private def notFinite[V](a: Array[V], kind: Values[V]): Int =
    (0 until java.lang.reflect.Array.getLength(a)).indexWhere { j =>
      val one = kind.newArray(1)
      System.arraycopy(a, j, one, 0, 1)
      !kind.allFinite(one)
    }
}

private[dataframes] object FrameBlocks {
  val NoGroup: AnyRef = ""

  /** Of rows of many groups, what a task may hold until blocks of them are full. */
  private val Bytes = 64L << 20
  private val Room = 16

  private sealed abstract class Builder(val group: AnyRef, val isSparse: Boolean) {
    type Row
    private var all: Array[AnyRef] = null
    protected var count = 0
    protected var squaredNorm = 0.0

    def add(id: AnyRef, row: Row, square: Double): Unit = {
      put(row)
      if (id ne null) {
        if (all eq null) all = new Array[AnyRef](Room)
        else if (count == all.length) all = java.util.Arrays.copyOf(all, 2 * count)
        all(count) = id
      }
      squaredNorm += square
      count += 1
    }
    protected def ids: Array[AnyRef] = if (all eq null) null else all.take(count)
    protected def put(row: Row): Unit
    def isFull: Boolean

    /** Of the values. */
    def bytes: Long
    def take(): NamedBlock
  }

  private final class DenseBuilder[T](group: AnyRef, n: Int, kind: Values[T]) extends Builder(group, isSparse = false) {
    override type Row = Array[T]
    private val height = BlockBuilder.height(n, kind.dtype)
    private var values = kind.newArray(math.min(Room, height) * n)

    override def isFull: Boolean = count == height
    override def bytes: Long = count.toLong * n * kind.dtype.bytes

    override protected def put(a: Array[T]): Unit = {
      if ((count + 1) * n > java.lang.reflect.Array.getLength(values))
        values = kind.take(values, math.min(height.toLong, 2L * count).toInt * n)
      System.arraycopy(a, 0, values, count * n, n)
    }

    override def take(): NamedBlock = {
      val isWhole = java.lang.reflect.Array.getLength(values) == count * n
      new NamedBlock(group, ids, count, n, if (isWhole) values else kind.take(values, count * n), squaredNorm)
    }
  }

  /** Values of a sparse block, about two megabytes; and its rows at most, as their products are dense. */
  private val SparseValues = 1 << 17
  private val MostSparseRows = 1 << 15

  private final class SparseBuilder(group: AnyRef, n: Int) extends Builder(group, isSparse = true) {
    override type Row = SparseRow
    private val starts = mutable.ArrayBuilder.make[Int]
    private val indices = mutable.ArrayBuilder.make[Int]
    private val values = mutable.ArrayBuilder.make[Double]
    private var end = 0
    starts += 0

    override def isFull: Boolean = end >= SparseValues || count == MostSparseRows
    override def bytes: Long = 12L * end + 4L * count

    override protected def put(row: SparseRow): Unit = {
      indices ++= row.indices
      values ++= row.values
      end += row.values.length
      starts += end
    }

    override def take(): NamedBlock =
      new NamedBlock(group, ids, count, n, new SparseRows(starts.result(), indices.result(), values.result()), squaredNorm)
  }
}
