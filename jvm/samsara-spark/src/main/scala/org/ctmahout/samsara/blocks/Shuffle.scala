package org.ctmahout.samsara
package blocks

import scala.collection.BufferedIterator

import org.apache.mahout.math.Matrix
import org.apache.spark.Partitioner
import org.apache.spark.rdd.RDD

/**
 * Where a piece goes, and after which others it comes there.
 *
 * @param group
 *   pieces of one group come together
 * @param order
 *   the first thing they are sorted by there
 * @param part
 *   the partition that sent it
 * @param index
 *   which of that partition's it is
 */
private[samsara] final case class Place(group: Int, order: Int, part: Int, index: Int)

private[samsara] object Place {
  implicit val ordering: Ordering[Place] = Ordering.by(p => (p.group, p.order, p.part, p.index))
}

/**
 * Rows, or parts of rows, on their way from one partition to another.
 *
 * @param keys
 *   keys of the rows
 * @param columns
 *   where the columns of `values` are to stand; null if that is known
 */
private[samsara] final case class Piece(keys: Array[_], columns: Array[Int], values: DenseBlock)

/** Pieces between partitions: a shuffle whose outcome does not depend on which task was the first. */
private[samsara] sealed trait Shuffle {
  def ++(that: Shuffle): Shuffle

  /**
   * New blocks from each group that has a piece, in groups' order. `f` gets the pieces sorted, and must
   * have read them before the next group is asked for.
   *
   * @param groups
   *   how many there are; they are dealt out to partitions in their order
   */
  def assembled[K](groups: Int, parts: Int)(f: (Int, BufferedIterator[(Place, Piece)]) => Iterator[(Array[K], Matrix)]): Blocks[K]
}

private[samsara] final class SparkShuffle(val pieces: RDD[(Place, Piece)]) extends Shuffle {
  override def ++(that: Shuffle): Shuffle = that match {
    case other: SparkShuffle => new SparkShuffle(pieces.union(other.pieces))
    case _ => throw new IllegalArgumentException("pieces of another context")
  }
  override def assembled[K](groups: Int, parts: Int)(
      f: (Int, BufferedIterator[(Place, Piece)]) => Iterator[(Array[K], Matrix)]): Blocks[K] = {
    val sorted = pieces.repartitionAndSortWithinPartitions(new ContiguousPartitioner(groups, math.max(1, math.min(parts, groups))))
    new SparkBlocks(sorted.mapPartitions(Shuffle.grouped(_)(f)))
  }
}

private[samsara] final class LocalShuffle(pieces: () => Iterator[(Place, Piece)]) extends Shuffle {
  private def all: Iterator[(Place, Piece)] = pieces()

  override def ++(that: Shuffle): Shuffle = that match {
    case other: LocalShuffle => new LocalShuffle(() => all ++ other.all)
    case _ => throw new IllegalArgumentException("pieces of another context")
  }
  override def assembled[K](groups: Int, parts: Int)(
      f: (Int, BufferedIterator[(Place, Piece)]) => Iterator[(Array[K], Matrix)]): Blocks[K] =
    new LocalBlocks(() => Shuffle.grouped(all.toVector.sortBy(_._1).iterator)(f))
}

private object Shuffle {
  def grouped[K](sorted: Iterator[(Place, Piece)])(
      f: (Int, BufferedIterator[(Place, Piece)]) => Iterator[(Array[K], Matrix)]): Iterator[(Array[K], Matrix)] = {
    val all = sorted.buffered
    Iterator.continually(all).takeWhile(_.hasNext).flatMap(_ => f(all.head._1.group, of(all)(_.group)))
  }

  /** The next pieces, as long as they agree in this. To be read to its end before anything else is taken from `all`. */
  def of(all: BufferedIterator[(Place, Piece)])(what: Place => Int): BufferedIterator[(Place, Piece)] = {
    val first = what(all.head._1)
    new Iterator[(Place, Piece)] {
      override def hasNext: Boolean = all.hasNext && what(all.head._1) == first
      override def next(): (Place, Piece) = if (hasNext) all.next() else Iterator.empty.next()
    }.buffered
  }
}

/** Deals groups 0 .. groups - 1 out to partitions, neighbours to one. */
private[samsara] final class ContiguousPartitioner(private val groups: Int, override val numPartitions: Int) extends Partitioner {
  override def getPartition(key: Any): Int = key match {
    case place: Place => (place.group.toLong * numPartitions / math.max(1, groups)).toInt
    case other => throw new IllegalArgumentException(s"$other is no place")
  }
  override def equals(that: Any): Boolean = that match {
    case other: ContiguousPartitioner => other.groups == groups && other.numPartitions == numPartitions
    case _ => false
  }
  override def hashCode: Int = groups * 31 + numPartitions
}
