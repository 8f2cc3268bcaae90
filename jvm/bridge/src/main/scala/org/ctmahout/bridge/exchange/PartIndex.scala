package org.ctmahout.bridge
package exchange

import org.apache.hadoop.fs.Path
import org.ctmahout.bridge.SparkInternals.FileRange

/**
 * The footer of a part file: where its row groups are, and which groups have rows in each.
 *
 * @param bytes
 *   of the file
 * @param modified
 *   when, in milliseconds since 1970
 * @param starts
 *   of row groups, in bytes from the beginning of the file
 * @param sizes
 *   of row groups, in bytes
 * @param first
 *   the smallest group that may have rows in a row group; the smallest integer if the footer has no statistics
 * @param last
 *   the largest one
 * @param hosts
 *   that store the beginning of the file
 */
private[bridge] final case class PartFooter(
    path: String,
    bytes: Long,
    modified: Long,
    starts: Array[Long],
    sizes: Array[Long],
    first: Array[Int],
    last: Array[Int],
    hosts: Array[String])

/** What one task reads, and the hosts that have it. */
private[bridge] final case class PartRanges(ranges: Seq[FileRange], hosts: Seq[String])

/** The footers of all part files of a directory, read once. They say where the rows of a group are, so that only these are read. */
private[bridge] final class PartIndex(footers: Seq[PartFooter]) {
  import PartIndex._

  /**
   * Where rows of some groups are, cut into at most so many parts of about the same size, in the order of the files. A row group
   * is never cut. A group is cut if its rows are in several row groups, but, with `whole`, not between two that follow each
   * other.
   */
  def ranges(groups: Seq[Int], partitions: Int, whole: Boolean): Seq[PartRanges] = {
    val sorted = groups.toArray.sorted
    val rowGroups = footers.flatMap(footer => footer.starts.indices.filter(i => holds(footer, i, sorted)).map(new RowGroup(footer, _)))
    val total = rowGroups.map(_.size).sum
    var before = 0L
    var part = 0
    var previous: Option[RowGroup] = None
    val numbered = rowGroups.map { rowGroup =>
      val middle = (before + rowGroup.size / 2).toDouble / math.max(1L, total)
      if (!(whole && previous.exists(_.sharesGroupWith(rowGroup)))) part = math.max(part, (middle * partitions).toInt)
      before += rowGroup.size
      previous = Some(rowGroup)
      (part, rowGroup)
    }
    numbered.groupBy(_._1).toSeq.sortBy(_._1).map { case (_, some) => partRanges(some.map(_._2)) }
  }
}

private[bridge] object PartIndex {

  /** A row group that Parquet has no statistics for may hold any group. */
  val Unknown: (Int, Int) = (Int.MinValue, Int.MaxValue)

  /** A row group of a file. */
  private final class RowGroup(val footer: PartFooter, val index: Int) {
    def start: Long = footer.starts(index)
    def size: Long = footer.sizes(index)
    def end: Long = start + size
    def sharesGroupWith(next: RowGroup): Boolean = footer.last(index) == next.footer.first(next.index)
    def isFollowedBy(next: RowGroup): Boolean = (footer eq next.footer) && index + 1 == next.index
  }

  private def holds(footer: PartFooter, rowGroup: Int, sorted: Array[Int]): Boolean = {
    val found = java.util.Arrays.binarySearch(sorted, footer.first(rowGroup))
    val next = if (found < 0) -found - 1 else found
    next < sorted.length && sorted(next) <= footer.last(rowGroup)
  }

  /** Consecutive row groups of a file become one range of it, since each range costs a read of the footer. */
  private def partRanges(rowGroups: Seq[RowGroup]): PartRanges = {
    val runs = rowGroups.foldLeft(List.empty[(RowGroup, RowGroup)]) {
      case ((from, to) :: done, rowGroup) if to.isFollowedBy(rowGroup) => (from, rowGroup) :: done
      case (done, rowGroup) => (rowGroup, rowGroup) :: done
    }
    val ranges = runs.reverse.map { case (from, to) =>
      val footer = from.footer
      SparkInternals.fileRange(new Path(footer.path), from.start, to.end - from.start, footer.modified, footer.bytes)
    }
    PartRanges(ranges, rowGroups.maxBy(_.size).footer.hosts.toSeq)
  }
}
