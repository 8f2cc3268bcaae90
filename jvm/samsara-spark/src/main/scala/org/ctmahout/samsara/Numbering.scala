package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix

/** Numbers for rows, in the order of the partitions. Takes a pass that counts them. */
private[samsara] object Numbering {

  /** The same rows with numbers as keys, and how many they are. */
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
   * Numbered rows, those that were not there as zeros, in partitions of their own.
   *
   * @throws IllegalArgumentException
   *   a number is there twice, or is none of a row of m
   */
  def completed[K](blocks: Blocks[K], m: Long, n: Int, keys: ClassTag[K], context: SamsaraContext): Blocks[K] = {
    val missing = gaps(blocks, m)
    if (missing.isEmpty) blocks else blocks ++ zeros(missing, n, keys, context)
  }

  /**
   * The ranges of numbers below m of which there is no row.
   *
   * @throws IllegalArgumentException
   *   a number is there twice, or is none of a row of m
   */
  def gaps[K](blocks: Blocks[K], m: Long): Seq[(Long, Long)] = {
    val present = blocks.fold(runs).flatten.sortBy(_._1)
    (present :+ ((m, m))).foldLeft((List.empty[(Long, Long)], 0L)) { case ((gaps, next), (from, until)) =>
      if (from < 0) throw new IllegalArgumentException(s"a row has the key $from: the keys of rows are numbers from 0 on")
      if (from < next) throw new IllegalArgumentException(s"two rows have the key $from")
      if (until > m) throw new IllegalArgumentException(s"a row has the key ${until - 1}, and the matrix only $m rows")
      (if (from > next) (next, from) :: gaps else gaps, until)
    }._1.reverse
  }

  /** Rows of zeros with numbers in these ranges. */
  private def zeros[K](ranges: Seq[(Long, Long)], n: Int, keys: ClassTag[K], context: SamsaraContext): Blocks[K] =
    context.made(1)(_ => ranges.iterator.flatMap { case (from, until) => zeros(from, until, n, keys) })

  def zeros[K](from: Long, until: Long, n: Int, keys: ClassTag[K]): Iterator[(Array[K], Matrix)] = {
    val height = Height.of(n).toLong
    Iterator.iterate(from)(_ + height).takeWhile(_ < until).map { at =>
      val rows = math.min(height, until - at).toInt
      (Keys.numbered(at, rows, keys), new DenseBlock(rows, n): Matrix)
    }
  }

  /** Ranges of numbers that are there one after the other. */
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
