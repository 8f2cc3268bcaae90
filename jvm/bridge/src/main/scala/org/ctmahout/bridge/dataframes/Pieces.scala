package org.ctmahout.bridge.dataframes

import scala.collection.mutable

import org.apache.mahout.math.Matrix
import org.apache.spark.sql.catalyst.InternalRow
import org.ctmahout.bridge.{RowBlocks, Values}
import org.ctmahout.samsara.{DenseBlock, FloatBlock}

/** What a partition's rows are put into: blocks, up to the first row that cannot be in a matrix. */
private[dataframes] sealed trait Piece extends Serializable

/**
 * Rows of one group side by side.
 *
 * @param group
 *   a value of the group column; [[Pieces.NoGroup]] without one
 * @param ids
 *   one for each row; nulls without an id column
 * @param values
 *   row-major, Array[Float] or Array[Double]
 */
private[dataframes] final class Block(
    val group: AnyRef, val ids: Array[AnyRef], val values: AnyRef, val columns: Int, val squaredNorm: Double) extends Piece {
  def rows: Int = ids.length

  /** As the engine wants it: wrapped, not copied. */
  def keyed: (Array[AnyRef], Matrix) = values match {
    case floats: Array[Float] => (ids, new FloatBlock(rows, columns, floats))
    case doubles => (ids, new DenseBlock(rows, columns, doubles.asInstanceOf[Array[Double]]))
  }
}

/**
 * A row that cannot be in a matrix, at this place in its partition.
 *
 * @param fields
 *   those of the error, but for the row
 */
private[dataframes] final case class BadRow(place: Long, id: Option[String], code: String, fields: Seq[(String, Any)]) extends Piece

/** Cuts the rows of a partition into pieces, and checks each row while it is in the processor's cache anyway. */
private[dataframes] final class Pieces[T](columns: MatrixColumns, values: RowValues[T]) extends Serializable {
  import Pieces._

  def of(rows: Iterator[InternalRow]): Iterator[Piece] = new Iterator[Piece] {
    private val ready = mutable.Queue.empty[Piece]
    private val builders = mutable.LinkedHashMap.empty[AnyRef, Builder[T]]
    private var (place, held, isBad) = (0L, 0L, false)
    private var width = -1

    override def hasNext: Boolean = {
      while (ready.isEmpty && !isBad && rows.hasNext) add(rows.next())
      if (ready.isEmpty && !isBad) drain()
      ready.nonEmpty
    }
    override def next(): Piece = if (hasNext) ready.dequeue() else Iterator.empty.next()

    private def add(row: InternalRow): Unit = {
      val group = columns.group.fold[AnyRef](NoGroup)(_.of(row))
      val id = columns.id.fold[AnyRef](null)(_.of(row))
      def bad(code: String, fields: (String, Any)*): Unit = {
        ready += BadRow(place, Option(id).map(_.toString), code, fields)
        isBad = true
      }
      val isNameless = Seq(columns.group -> group, columns.id -> id).collectFirst { case (Some(c), null) => c.field.name }
      (isNameless, values.of(row)) match {
        case (Some(name), _) => bad("CTM_DATAFRAME_NULL", "column" -> name)
        case (_, None) => bad("CTM_DATAFRAME_NULL", "column" -> values.nullColumn(row))
        case (_, Some(a)) =>
          val n = java.lang.reflect.Array.getLength(a)
          if (width < 0 && n > 0) width = n
          val square = values.kind.squaredNorm(a)
          if (n != width) bad("CTM_DATAFRAME_WIDTH", "given" -> n, "expected" -> math.max(width, 1))
          // An infinite square may also come from a finite value beyond 1e154.
          else if (!java.lang.Double.isFinite(square) && !values.kind.allFinite(a))
            bad("CTM_DATAFRAME_NOT_FINITE", "column" -> values.column(notFinite(a)))
          else put(group, id, a, square)
      }
      place += 1
    }

    private def put(group: AnyRef, id: AnyRef, a: Array[T], square: Double): Unit = {
      val builder = builders.getOrElseUpdate(group, new Builder(group, width, values.kind))
      builder.add(id, a, square)
      held += 1
      if (builder.isFull) {
        held -= builder.count
        ready += builder.take()
        builders -= group
      } else if (held * width * values.kind.dtype.bytes > Bytes) drain()
    }

    private def drain(): Unit = {
      builders.values.foreach(builder => ready += builder.take())
      builders.clear()
      held = 0
    }
  }

  private def notFinite(a: Array[T]): Int =
    (0 until java.lang.reflect.Array.getLength(a)).indexWhere(j => !values.kind.allFinite(slice(a, j)))

  private def slice(a: Array[T], j: Int): Array[T] = {
    val one = values.kind.newArray(1)
    System.arraycopy(a, j, one, 0, 1)
    one
  }
}

private[dataframes] object Pieces {
  val NoGroup: AnyRef = ""

  /** Of rows of many groups, what a task may hold until blocks of them are full. */
  private val Bytes = 64L << 20
  private val Room = 16

  private final class Builder[T](group: AnyRef, n: Int, kind: Values[T]) {
    private val height = RowBlocks.height(n, kind.dtype)
    private var ids = new Array[AnyRef](math.min(Room, height))
    private var values = kind.newArray(ids.length * n)
    private var squaredNorm = 0.0
    var count = 0

    def isFull: Boolean = count == height

    def add(id: AnyRef, a: Array[T], square: Double): Unit = {
      if (count == ids.length) {
        ids = java.util.Arrays.copyOf(ids, math.min(height.toLong, 2L * count).toInt)
        values = kind.take(values, ids.length * n)
      }
      System.arraycopy(a, 0, values, count * n, n)
      ids(count) = id
      squaredNorm += square
      count += 1
    }

    def take(): Block =
      if (count == ids.length) new Block(group, ids, values, n, squaredNorm)
      else new Block(group, ids.take(count), kind.take(values, count * n), n, squaredNorm)
  }
}
