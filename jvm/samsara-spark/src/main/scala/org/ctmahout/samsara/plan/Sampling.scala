package org.ctmahout.samsara
package plan

import java.util.Random

import scala.util.hashing.MurmurHash3

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.blocks.{Blocks, Far, Keys, Value}
import org.ctmahout.samsara.incore.{Products, Slices}

/**
 * Random rows. Whether a row is drawn depends on a seed and on its key, not on where the row is: the same rows are drawn
 * however a matrix is partitioned. The seed is the next number of Mahout's `RandomUtils`, which `RandomUtils.seedNext` fixes.
 */
private[samsara] final class Sampling(context: SamsaraContext) {
  import Sampling._

  /**
   * Each row with this probability; with replacement, each row as often as a Poisson variable with this mean. The sample has
   * as many rows as were drawn. Labels are kept, rows with numbers are numbered anew.
   *
   * @throws UnsupportedOperationException
   *   rows with labels, drawn with replacement: two rows would have one label
   */
  def share[K](a: Value[K], fraction: Double, replacement: Boolean): Value[K] = {
    require(if (replacement) fraction >= 0 else fraction >= 0 && fraction <= 1, s"a fraction of $fraction of the rows")
    if (replacement && !Keys.areNumbers(a.keys)) SparkEngine.unsupported("sampling of labelled rows with replacement")
    val seed = nextSeed()
    val far = new Joins(context).far(a)
    val drawn = far.rows.evaluated(context).mapParts[K] { (_, blocks) =>
      for {
        (keys, block) <- blocks
        which = keys.indices.toArray.flatMap { i =>
          Array.fill(times(seed, Keys.identity(keys, i), fraction, replacement))(i)
        }
        if which.nonEmpty
      } yield (Keys.pick(keys, which), Slices.rows(Products.dense(block), which))
    }
    val (numbered, count) = if (Keys.areNumbers(a.keys)) Numbering(drawn, a.keys) else (drawn, Numbering.counts(drawn).sum)
    Far.computed(numbered, count, far.n, far.keys)
  }

  /**
   * This many rows, or all if there are not so many, in random order; with replacement always this many.
   *
   * @return
   *   the rows, and their keys
   */
  def some(a: Value[_], count: Int, replacement: Boolean): (DenseBlock, Seq[Any]) = {
    require(count >= 0, s"a sample of $count rows")
    val random = new Random(nextSeed())
    val seed = random.nextLong()
    // With replacement: first which draws hit the same row, then which rows these are.
    val draws =
      if (!replacement) Array.range(0, math.min(a.m, count.toLong).toInt)
      else if (a.m == 0) Array.empty[Int]
      else {
        val ranks = Array.fill(count)(math.floor(random.nextDouble() * a.m.toDouble).toLong)
        val place = ranks.distinct.zipWithIndex.toMap
        ranks.map(place)
      }
    val wanted = if (draws.isEmpty) 0 else draws.max + 1
    val found = lowest(new Joins(context).far(a).rows.evaluated(context), a.m, wanted, seed)
    val all = new DenseBlock(draws.length, a.n)
    for ((draw, i) <- draws.zipWithIndex) System.arraycopy(found(draw).values, 0, all.data, i * a.n, a.n)
    (all, draws.toSeq.map(found(_).key))
  }

  private def nextSeed(): Long = RandomUtils.getRandom().nextLong()
}

private[samsara] object Sampling {

  /** A row and its rank in the random order; keys break ties. */
  final case class Drawn(rank: (Long, String), key: Any, values: Array[Double])

  /**
   * The rows of the lowest ranks, in their order. Ranks are spread evenly: so each partition sends the rows below a bound that a
   * few more than `count` of all m rows are below, and not `count` of its own. If they turn out to be too few, it is raised.
   */
  private def lowest(blocks: Blocks[_], m: Long, count: Int, seed: Long): Array[Drawn] = {
    @annotation.tailrec
    def below(share: Double): Array[Drawn] = {
      val found = blocks.fold(first(_, count, seed, share)).flatten.sortBy(_.rank)
      if (found.size >= count || share >= 1) found.take(count).toArray else below(4 * share)
    }
    below((count + 6 * math.sqrt(count.toDouble) + 6) / math.max(1L, m))
  }

  /** The position of a hash among all, from 0 to 1. */
  private def standing(hash: Long): Double = hash * math.pow(2, -64) + 0.5

  /** The first `count` of some rows, among those with a position below `share`. */
  private def first(blocks: Iterator[(Array[_], Matrix)], count: Int, seed: Long, share: Double): Array[Drawn] =
    blocks.foldLeft(Array.empty[Drawn]) { case (best, (keys, block)) =>
      val ranks = for {
        i <- keys.indices
        key = Keys.identity(keys, i)
        number = hash(seed, key)
        if standing(number) <= share
      } yield ((number, key.toString), i)
      if (ranks.isEmpty) best
      else {
        val ranked = ranks.sortBy(_._1).take(count)
        val rows = Slices.rows(Products.dense(block), ranked.map(_._2).toArray)
        val drawn = ranked.zipWithIndex.map { case ((rank, i), at) =>
          Drawn(rank, keys(i), rows.data.slice(at * rows.columnSize, (at + 1) * rows.columnSize))
        }
        (best ++ drawn).sortBy(_.rank).take(count)
      }
    }

  /** 64 bits of a seed and a key. */
  private def hash(seed: Long, key: Any): Long = {
    val number = key match {
      case n: Long => n
      case label =>
        val text = label.toString
        (MurmurHash3.stringHash(text, 1).toLong << 32) ^ (MurmurHash3.stringHash(text, 2) & 0xffffffffL)
    }
    Keys.mixed(Keys.mixed(seed) ^ Keys.mixed(number + 0x9e3779b97f4a7c15L))
  }

  private def uniform(seed: Long, key: Any): Double = (hash(seed, key) >>> 11) * math.pow(2, -53)

  /**
   * How often a row is drawn. A Poisson variable with a large mean is a sum of ones with smaller means, for which exp(-mean) is not
   * zero.
   */
  private def times(seed: Long, key: Any, mean: Double, replacement: Boolean): Int =
    if (!replacement) { if (uniform(seed, key) < mean) 1 else 0 }
    else {
      val parts = math.max(1, math.ceil(mean / LargestMean).toInt)
      (0 until parts).map(part => poisson(uniform(seed + part, key), mean / parts)).sum
    }

  private val LargestMean = 500.0

  /** By inversion of the distribution. */
  private def poisson(uniform: Double, mean: Double): Int = {
    var (count, term) = (0, math.exp(-mean))
    var sum = term
    // Beyond the mean the terms fall: where they are too small to be added, the sum is as near to 1 as it gets.
    while (uniform >= sum && (count < mean || sum + term > sum)) { count += 1; term *= mean / count; sum += term }
    count
  }
}
