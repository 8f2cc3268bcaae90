package org.ctmahout.samsara
package plan

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.blocks.{BlockHeight, Blocks, Keys, Piece, Place}

/** Numbers for rows, in the order of the partitions. Takes a pass that counts them. */
private[samsara] object Numbering {

  /** The same rows with numbers as keys, and how many there are. */
  def apply[K, R](blocks: Blocks[K], numbers: ClassTag[R]): (Blocks[R], Long) = {
    val first = counts(blocks).scanLeft(0L)(_ + _)
    val numbered = blocks.mapParts[R] { (part, blocks) =>
      var next = first(part)
      blocks.map { case (keys, block) =>
        next += keys.length
        (Keys.numbered(next - keys.length, keys.length, numbers), block)
      }
    }
    (numbered, first.last)
  }

  def counts[K](blocks: Blocks[K]): Seq[Long] = blocks.fold(_.map(_._1.length.toLong).sum)

  /** A column with the number of each row, keyed as the rows are. */
  def column[K](blocks: Blocks[K]): Blocks[K] = {
    val first = counts(blocks).scanLeft(0L)(_ + _)
    blocks.mapParts[K] { (part, blocks) =>
      var next = first(part)
      blocks.map { case (keys, _) =>
        next += keys.length
        val from = next - keys.length
        (keys, new DenseBlock(keys.length, 1, Array.tabulate(keys.length)(i => (from + i).toDouble)): Matrix)
      }
    }
  }

  /**
   * Numbered rows with the missing ones added as zeros, in partitions of their own.
   *
   * @throws IllegalArgumentException
   *   a number occurs twice, or is not that of one of m rows
   */
  def completed[K](blocks: Blocks[K], m: Long, n: Int, keys: ClassTag[K], context: SamsaraContext): Blocks[K] = {
    val missing = gaps(blocks, m, context)
    if (isComplete(missing)) blocks
    else blocks ++ missing.mapParts[K]((_, all) => all.flatMap(_._1).flatMap(gap => zeros(gap.from, gap.until, n, keys)))
  }

  /** @throws IllegalArgumentException a number occurs twice, or is not that of one of m rows */
  def requireOnce[K](blocks: Blocks[K], m: Long, context: SamsaraContext): Unit = { isComplete(gaps(blocks, m, context)); () }

  private def isComplete(missing: Blocks[Gap]): Boolean = {
    val some = missing.fold[Option[Gap]] { blocks =>
      val all = blocks.flatMap(_._1).toVector
      all.find(_.problem.nonEmpty).orElse(all.headOption)
    }.flatten
    for (gap <- some; problem <- gap.problem) throw new IllegalArgumentException(problem)
    some.isEmpty
  }

  /** Numbers without a row, or the reason why a row must not have them. */
  final case class Gap(from: Long, until: Long, problem: Option[String] = None)

  /**
   * The numbers below m that are missing. Each partition of the result is responsible for a share of the numbers, wherever the
   * rows are: neither the driver nor a task holds them all.
   */
  private def gaps[K](blocks: Blocks[K], m: Long, context: SamsaraContext): Blocks[Gap] = {
    def held(gaps: Seq[Gap]): (Array[Gap], Matrix) = (gaps.toArray, new DenseBlock(gaps.size, 0))
    val parts = blocks.parts
    if (parts == 0) context.generated(1)(_ => Iterator.single(held(if (m > 0) Seq(Gap(0, m)) else Nil)))
    else {
      val share = math.max(1L, (m + parts - 1) / parts)
      val present = blocks.send { (part, blocks) =>
        val ranges = runs(blocks).toSeq.flatMap(cut(_, share, parts)).groupBy(_._1)
        val owners = if (part == 0) Iterator.range(0, parts) else ranges.keysIterator // each hears of one partition
        owners.map { owner =>
          val flat = ranges.getOrElse(owner, Nil).flatMap { case (_, from, until) => Seq(from, until) }
          (Place(owner, 0, part, 0), Piece(flat.toArray, null, null))
        }
      }
      present.assembled[Gap](parts, parts) { (owner, pieces) =>
        val ranges = pieces.flatMap(_._2.keys.asInstanceOf[Array[Long]].grouped(2).map(r => (r(0), r(1)))).toArray.sorted
        Iterator.single(held(between(ranges, math.min(m, owner * share), math.min(m, (owner + 1) * share), m)))
      }
    }
  }

  /** A range of numbers cut into pieces, each with the partition responsible for it. */
  private def cut(range: (Long, Long), share: Long, parts: Int): Iterator[(Int, Long, Long)] = {
    val (first, until) = range
    def owner(number: Long) = math.max(0L, math.min(parts - 1L, number / share)).toInt
    def end(number: Long) = if (owner(number) == parts - 1) until else math.min(until, (owner(number) + 1) * share)
    Iterator.iterate(first)(end).takeWhile(_ < until).map(from => (owner(from), from, end(from)))
  }

  private def between(present: Array[(Long, Long)], first: Long, last: Long, m: Long): Seq[Gap] = {
    val all = Seq.newBuilder[Gap]
    var next = first
    for ((from, until) <- present) {
      def problem(text: String) = all += Gap(from, until, Some(text))
      if (from < 0) problem(s"a row has the key $from: the keys of rows are numbers from 0 on")
      else if (from < next) problem(s"two rows have the key $from")
      else if (until > m) problem(s"a row has the key ${until - 1}, and the matrix only $m rows")
      else if (from > next) all += Gap(next, from)
      next = math.max(next, until)
    }
    if (next < last) all += Gap(next, last)
    all.result()
  }

  def zeros[K](from: Long, until: Long, n: Int, keys: ClassTag[K]): Iterator[(Array[K], Matrix)] = {
    val height = BlockHeight.of(n).toLong
    Iterator.iterate(from)(_ + height).takeWhile(_ < until).map { at =>
      val rows = math.min(height, until - at).toInt
      (Keys.numbered(at, rows, keys), new DenseBlock(rows, n): Matrix)
    }
  }

  /** Ranges of consecutive numbers. */
  private def runs(blocks: Iterator[(Array[_], Matrix)]): Array[(Long, Long)] = {
    val sorted = blocks.flatMap { case (keys, _) => runsOf(Keys.longs(keys)) }.toArray.sortBy(_._1)
    sorted.foldLeft(List.empty[(Long, Long)]) {
      case ((from, until) :: rest, (next, end)) if next == until => (from, end) :: rest
      case (all, run) => run :: all
    }.toArray
  }

  private def runsOf(numbers: Array[Long]): Iterator[(Long, Long)] = {
    val starts = numbers.indices.filter(i => i == 0 || numbers(i) != numbers(i - 1) + 1)
    val ends = starts.drop(1) :+ numbers.length
    starts.iterator.zip(ends.iterator).map { case (from, until) => (numbers(from), numbers(until - 1) + 1) }
  }
}
