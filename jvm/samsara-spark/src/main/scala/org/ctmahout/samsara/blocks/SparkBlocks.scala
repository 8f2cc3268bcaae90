package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD
import org.ctmahout.samsara.incore.Products

private[samsara] final class SparkBlocks[K](val rdd: RDD[(Array[K], Matrix)]) extends Blocks[K] {
  import SparkBlocks._

  override def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R] = new SparkBlocks(rdd.map(f))

  override def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double] =
    total(rdd.mapPartitionsWithIndex((index, blocks) => Iterator((index, new Sum[Nothing](f(blocks), Nil)))), size).values

  override def sumAnd[T](size: Int)(f: Iterator[(Array[K], Matrix)] => (Array[Double], T)): (Array[Double], Seq[T]) = {
    val all = total(
      rdd.mapPartitionsWithIndex { (index, blocks) =>
        val (values, results) = f(blocks)
        Iterator((index, new Sum(values, Seq(results))))
      },
      size)
    (all.values, all.results)
  }

  override def sumWith[L](that: Blocks[L], size: Int)(
      f: (Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Array[Double]): Array[Double] = {
    val both = rdd.zipPartitions(rddOf(that))((x, y) => Iterator(f(x, y)))
    total(both.mapPartitionsWithIndex((index, sums) => sums.map(values => (index, new Sum[Nothing](values, Nil)))), size).values
  }

  override def collect(): Seq[(Array[K], Matrix)] =
    rdd.map { case (keys, block) => (keys, Products.block(block).copied: Matrix) }.collect().toSeq

  override def parts: Int = rdd.getNumPartitions
  override def mapParts[R](f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Array[R], Matrix)]): Blocks[R] =
    new SparkBlocks(rdd.mapPartitionsWithIndex(f))
  override def zip[L, R](that: Blocks[L])(f: ((Array[K], Matrix), (Array[L], Matrix)) => (Array[R], Matrix)): Blocks[R] =
    new SparkBlocks(rdd.zipPartitions(rddOf(that))((x, y) => Alignment.zip(x, y).map { case (p, q) => f(p, q) }))
  override def ++(that: Blocks[K]): Blocks[K] = new SparkBlocks(rdd.union(rddOf(that)))
  override def coalesced(parts: Int): Blocks[K] = new SparkBlocks(rdd.coalesce(parts))
  override def fold[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Seq[T] =
    rdd.mapPartitions(blocks => Iterator.single(f(blocks))).collect().toSeq
  override def ofFirst[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Option[T] =
    rdd.sparkContext.runJob(rdd, f, (0 until math.min(1, rdd.getNumPartitions))).headOption
  override def send(f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Place, Piece)]): Shuffle =
    new SparkShuffle(rdd.mapPartitionsWithIndex(f))
  override def sendWith[L](that: Blocks[L])(
      f: (Int, Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Iterator[(Place, Piece)]): Shuffle =
    new SparkShuffle(
      rdd.zipPartitions(rddOf(that))((x, y) => f(org.apache.spark.TaskContext.getPartitionId(), x, y)))
}

private[samsara] object SparkBlocks {
  private def rddOf[L](blocks: Blocks[L]): RDD[(Array[L], Matrix)] = blocks.asInstanceOf[SparkBlocks[L]].rdd

  /** A sum over some partitions, and a result of each beside it. */
  final class Sum[+T](val values: Array[Double], val results: Seq[T]) extends Serializable

  /**
   * The sum over all partitions, in their order and in [[SumOfArrays]]'s, wherever it is added up: no limit decides on its bits.
   *
   * Few sums come to the driver as they are. Of many, each is cut into ranges, and a range of all of them goes to one task: so one
   * sum reaches the driver, and neither a task nor its result holds more than some ranges.
   */
  private def total[T](parts: RDD[(Int, Sum[T])], size: Int): Sum[T] = {
    val limits = new Limits(parts.sparkContext)
    limits.check(8L * size)
    val count = parts.getNumPartitions
    if (count <= 1 || count.toLong * size * 8 <= limits.atOnce) {
      val sums = parts.collect().sortBy(_._1).map(_._2)
      val all = new SumOfArrays(size)
      sums.foreach(sum => all.add(sum.values))
      new Sum(all.values, sums.toSeq.flatMap(_.results))
    } else {
      val cuts = limits.cuts(count, size)
      val ranges = parts.flatMap { case (part, sum) =>
        Iterator.range(0, cuts.length - 1).map { range =>
          val values = java.util.Arrays.copyOfRange(sum.values, cuts(range), cuts(range + 1))
          (Place(range, 0, part, 0), new Sum(values, if (range == 0) sum.results else Nil))
        }
      }
      val partitioner = new ContiguousPartitioner(cuts.length - 1, cuts.length - 1)
      val added = ranges.repartitionAndSortWithinPartitions(partitioner).mapPartitionsWithIndex { (range, sums) =>
        val all = new SumOfArrays(cuts(range + 1) - cuts(range))
        val results = Seq.newBuilder[T]
        for ((_, sum) <- sums) { all.add(sum.values); results ++= sum.results }
        Iterator.single(new Sum(all.values, results.result()))
      }
      val all = new Array[Double](size)
      var results = Seq.empty[T]
      // Each is put where it belongs when it comes, and let go.
      added.sparkContext.runJob[Sum[T], Sum[T]](
        added,
        (sums: Iterator[Sum[T]]) => sums.next(),
        (range: Int, sum: Sum[T]) => {
          System.arraycopy(sum.values, 0, all, cuts(range), sum.values.length)
          if (range == 0) results = sum.results
        }
      )
      new Sum(all, results)
    }
  }

  /** What results of a job may come to, as Spark is set. */
  private final class Limits(sc: SparkContext) {
    private val most = sc.getConf.getSizeAsBytes(Limits.Setting, "1g")

    /** Bytes of sums that come to the driver as they are. Other jobs may have results under way, too. */
    val atOnce: Long = if (most <= 0) Limits.AtOnce else math.min(Limits.AtOnce, most / 4)

    /** @throws IllegalArgumentException Spark would refuse the one sum that has to come */
    def check(bytes: Long): Unit = require(
      most <= 0 || bytes + Limits.Wrapping < most,
      s"a sum of ${bytes >> 20} MiB has to come to the driver, and ${Limits.Setting} is ${most >> 20} MiB: " +
        "ask for fewer components, or raise that setting"
    )

    /** Where the ranges begin that are added up apart: of so many sums each range takes about as much as may come at once. */
    def cuts(count: Int, size: Int): Array[Int] = {
      val (fewest, mostRanges) = (size / Limits.Longest + 1L, size / Limits.Shortest + 1L)
      val ranges = math.max(fewest, math.min(mostRanges, count.toLong * size * 8 / atOnce + 1))
      Array.tabulate(ranges.toInt + 1)(i => (size.toLong * i / ranges).toInt)
    }
  }

  private object Limits {
    val Setting = "spark.driver.maxResultSize"
    val AtOnce: Long = 128L << 20

    /** Of what a result is besides its numbers. */
    val Wrapping: Long = 64L << 10

    /** Numbers in a range: more than a shuffle has to do with each, and less than Kryo's largest buffer, which is of 64 MiB. */
    val Shortest: Int = 1 << 13
    val Longest: Int = 1 << 22
  }
}
