package org.ctmahout.samsara

import com.esotericsoftware.kryo.DefaultSerializer
import org.apache.mahout.math.{AbstractMatrix, Matrix, Vector}
import org.apache.mahout.math.flavor.MatrixFlavor

/**
 * Rows side by side in one array, or a window on such: what the engine keeps and multiplies.
 *
 * In dense blocks element (i, j) is at `offset + i * stride + j` of one array.
 */
abstract class Block private[samsara] (m: Int, n: Int, val offset: Int, val stride: Int) extends AbstractMatrix(m, n) {

  /** Copies `count` rows from `from` on into an array as doubles, `width` apart there. */
  def copyRows(from: Int, count: Int, into: Array[Double], width: Int): Unit
  final def copyRows(from: Int, count: Int, into: Array[Double]): Unit = copyRows(from, count, into, columns)

  /** The same values, of the same type, in an array of their own. */
  private[samsara] def copied: Block

  protected def window(row: Int, rows: Int, column: Int, columns: Int): Block

  /** All of it, row-major, as doubles. */
  final def toArray: Array[Double] = {
    val all = new Array[Double](Math.multiplyExact(rows, columns))
    copyRows(0, rows, all)
    all
  }

  /** Length of the array. */
  protected def length: Int

  /** Refuses a block that does not fit its array. */
  protected def requireRoom(): Unit = {
    require(rows >= 0 && columns >= 0 && offset >= 0, s"a block of $rows x $columns from $offset on")
    require(rows <= 1 || stride >= columns, s"rows of $columns columns, $stride apart")
    require(
      rows == 0 || columns == 0 || offset + (rows - 1L) * stride + columns <= length,
      s"a block of $rows x $columns, its rows $stride apart from $offset on, in an array of $length"
    )
  }

  /** Whether each row, the last one included, has so much room in the array, whatever is behind the row itself. */
  private[samsara] def isPaddedTo(width: Int): Boolean =
    stride == width && offset % math.max(1, width) == 0 && offset + rows.toLong * stride <= length

  protected def isWhole(length: Int): Boolean = offset == 0 && stride == columns && length == rows * columns

  override def viewPart(start: Array[Int], size: Array[Int]): Matrix = viewPart(start(0), size(0), start(1), size(1))
  override def viewPart(r: Int, rs: Int, c: Int, cs: Int): Matrix = {
    require(r >= 0 && c >= 0 && r + rs <= rows && c + cs <= columns, s"window $r + $rs, $c + $cs of $rows x $columns")
    window(r, rs, c, cs)
  }
  override def like(): Matrix = new DenseBlock(rows, columns)
  override def like(r: Int, c: Int): Matrix = new DenseBlock(r, c)
  override def clone(): Matrix = new DenseBlock(rows, columns, toArray)
  override def getFlavor: MatrixFlavor = MatrixFlavor.DENSELIKE

  override def assignColumn(column: Int, v: Vector): Matrix = {
    for (i <- 0 until rows) setQuick(i, column, v.getQuick(i))
    this
  }
  override def assignRow(row: Int, v: Vector): Matrix = {
    for (j <- 0 until columns) setQuick(row, j, v.getQuick(j))
    this
  }
}

/** A block of doubles. */
@DefaultSerializer(classOf[KryoBlocks])
final class DenseBlock(m: Int, n: Int, val data: Array[Double], offset: Int, stride: Int)
    extends Block(m, n, offset, stride)
    with Serializable {

  override protected def length: Int = data.length
  requireRoom()

  def this(m: Int, n: Int, data: Array[Double]) = this(m, n, data, 0, n)
  def this(m: Int, n: Int) = this(m, n, new Array[Double](Math.multiplyExact(m, n)))

  override def getQuick(i: Int, j: Int): Double = data(offset + i * stride + j)
  override def setQuick(i: Int, j: Int, value: Double): Unit = data(offset + i * stride + j) = value
  override protected def window(r: Int, rs: Int, c: Int, cs: Int): Block =
    new DenseBlock(rs, cs, data, offset + r * stride + c, stride)
  override def copyRows(from: Int, count: Int, into: Array[Double], width: Int): Unit =
    for (i <- 0 until count) System.arraycopy(data, offset + (from + i) * stride, into, i * width, columns)

  override private[samsara] def copied: Block = new DenseBlock(rows, columns, toArray)

  /** This matrix with an array of its own size. */
  def whole: DenseBlock = if (isWhole(data.length)) this else new DenseBlock(rows, columns, toArray)

  // AbstractMatrix has no constructor that Java serialisation could call; plain arrays travel instead.
  private def writeReplace(): AnyRef = new PackedBlock(rows, columns, whole.data)
}

/** A block stored as floats, in half the memory, and computed with as doubles. */
@DefaultSerializer(classOf[KryoBlocks])
final class FloatBlock(m: Int, n: Int, val data: Array[Float], offset: Int, stride: Int)
    extends Block(m, n, offset, stride)
    with Serializable {

  override protected def length: Int = data.length
  requireRoom()

  def this(m: Int, n: Int, data: Array[Float]) = this(m, n, data, 0, n)

  override def getQuick(i: Int, j: Int): Double = data(offset + i * stride + j).toDouble
  override def setQuick(i: Int, j: Int, value: Double): Unit = data(offset + i * stride + j) = value.toFloat
  override protected def window(r: Int, rs: Int, c: Int, cs: Int): Block =
    new FloatBlock(rs, cs, data, offset + r * stride + c, stride)
  override def copyRows(from: Int, count: Int, into: Array[Double], width: Int): Unit = {
    var i = 0
    while (i < count) {
      val source = offset + (from + i) * stride
      val target = i * width
      var j = 0
      while (j < columns) { into(target + j) = data(source + j).toDouble; j += 1 }
      i += 1
    }
  }

  override private[samsara] def copied: FloatBlock = {
    val copy = new Array[Float](Math.multiplyExact(rows, columns))
    for (i <- 0 until rows) System.arraycopy(data, offset + i * stride, copy, i * columns, columns)
    new FloatBlock(rows, columns, copy)
  }

  /** This matrix with an array of its own size. */
  private[samsara] def whole: FloatBlock = if (isWhole(data.length)) this else copied

  private def writeReplace(): AnyRef = new PackedBlock(rows, columns, whole.data)
}

/** The form in which a block travels between processes: any serialiser can write plain arrays. */
private final class PackedBlock(rows: Int, columns: Int, data: AnyRef) extends Serializable {
  private def readResolve(): AnyRef = data match {
    case doubles: Array[Double] => new DenseBlock(rows, columns, doubles)
    case floats: Array[Float] => new FloatBlock(rows, columns, floats)
    case other => throw new IllegalStateException(s"a block of ${other.getClass.getSimpleName}")
  }
}

private[samsara] object DenseBlock {
  def identity(n: Int): DenseBlock = {
    val one = new DenseBlock(n, n)
    for (i <- 0 until n) one.setQuick(i, i, 1.0)
    one
  }
}
