package org.ctmahout.bridge
package exchange

import scala.collection.mutable

import org.ctmahout.bridge.SparkInternals.InternalRow

/** Puts the rows of a partition (group, number and values, in any order) together by group. */
private[bridge] final class Gathering[T](groups: Map[Int, MatrixGroup], values: Values[T]) {
  import Gathering._

  private final class Rows(val group: MatrixGroup) {
    private val blocks = mutable.ArrayBuffer.empty[CheckedBlock]
    private val height = BlockBuilder.height(group.columns, values.dtype)
    private val builder = new BlockBuilder(group, values, weights, math.min(Room, group.rows).toInt, height, lasting = true)
    private var count = 0L

    /** Whether there are as many rows now as the group has. */
    def add(row: InternalRow): Boolean = {
      builder.add(row.getLong(1), row.getArray(2))
      count += 1
      if (builder.isFull) blocks += builder.take()
      count == group.rows
    }

    def taken(): Seq[CheckedBlock] = {
      if (!builder.isEmpty) blocks += builder.take()
      blocks.toSeq
    }
  }

  private lazy val weights = Checksum.weights(groups.head._2.columns) // the groups of a directory have one width
  private val rows = mutable.LinkedHashMap.empty[Int, Rows]
  private var last: Option[Rows] = None
  private var held = 0L

  /** The group that this row completes, if it does; it is removed from here. */
  def add(row: InternalRow): Option[(MatrixGroup, Seq[CheckedBlock])] = of(row.getInt(0)).flatMap { mine =>
    held += 1
    if (mine.add(row)) {
      forget(mine)
      Some((mine.group, mine.taken()))
    } else None
  }

  /** Rows mostly come group by group; rows of groups that were not asked for are dropped. */
  private def of(number: Int): Option[Rows] = {
    if (!last.exists(_.group.group == number))
      last = groups.get(number).map(group => rows.getOrElseUpdate(number, new Rows(group)))
    last
  }

  private def forget(mine: Rows): Unit = {
    rows -= mine.group.group
    last = None
    held -= mine.group.rows
  }

  /** Whether more is in memory than a task may hold. */
  def isHeavy: Boolean = held * weights.length * values.dtype.bytes > Bytes

  /** Removes and returns all that is left. */
  def drain(): Iterator[(Int, CheckedBlock)] = {
    val left = rows.values.toSeq
    rows.clear()
    last = None
    held = 0
    left.iterator.flatMap(mine => mine.taken().map((mine.group.group, _)))
  }
}

private[bridge] object Gathering {
  private val Room = 256L
  private val Bytes = 256L << 20
}
