package org.ctmahout.samsara


import org.apache.mahout.math.Matrix
import org.apache.spark.rdd.RDD

/** Blocks of rows in partitions: on a cluster, or all in this process. What is done with them is the same code. */
private[samsara] sealed trait Blocks[K] {
  def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R]

  /** Adds up what `f` makes of each partition, in the order of the partitions: two runs agree to the last bit. */
  def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double]

  /** The same for two that have the same rows in the same blocks. */
  def sumWith[L](that: Blocks[L], size: Int)(
      f: (Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Array[Double]): Array[Double]

  def collect(): Seq[(Array[K], Matrix)]
}

private[samsara] final class SparkBlocks[K](val rdd: RDD[(Array[K], Matrix)]) extends Blocks[K] {
  import SparkBlocks._

  override def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R] = new SparkBlocks(rdd.map(f))

  override def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double] =
    total(rdd.mapPartitionsWithIndex((index, blocks) => Iterator((index, f(blocks)))), size)

  override def sumWith[L](that: Blocks[L], size: Int)(
      f: (Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Array[Double]): Array[Double] = {
    val both = rdd.zipPartitions(that.asInstanceOf[SparkBlocks[L]].rdd)((x, y) => Iterator(f(x, y)))
    total(both.mapPartitionsWithIndex((index, sums) => sums.map((index, _))), size)
  }

  override def collect(): Seq[(Array[K], Matrix)] =
    rdd.map { case (keys, block) => (keys, Products.block(block): Matrix) }.collect().toSeq
}

private object SparkBlocks {

  /** More than this many bytes of partial sums are added up on the cluster before they come to the driver. */
  private val DriverBytes = 128L << 20

  private def total(parts: RDD[(Int, Array[Double])], size: Int): Array[Double] = {
    val count = parts.getNumPartitions
    val few =
      if (count.toLong * size * 8 <= DriverBytes) parts
      else {
        val fan = math.ceil(math.sqrt(count.toDouble)).toInt
        parts
          .map { case (index, a) => (index / fan, (index, a)) }
          .groupByKey((count + fan - 1) / fan)
          .mapValues(_.toArray.sortBy(_._1).map(_._2).reduceLeft(add))
      }
    few.collect().sortBy(_._1).foldLeft(new Array[Double](size)) { case (sum, (_, a)) => add(sum, a) }
  }

  private def add(into: Array[Double], a: Array[Double]): Array[Double] = {
    var i = 0
    while (i < a.length) { into(i) += a(i); i += 1 }
    into
  }
}

/** One partition, in this process: for a matrix that fits in a task. */
private[samsara] final class LocalBlocks[K](blocks: () => Iterator[(Array[K], Matrix)]) extends Blocks[K] {
  override def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R] = new LocalBlocks(() => blocks().map(f))
  override def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double] = f(blocks())
  override def sumWith[L](that: Blocks[L], size: Int)(
      f: (Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Array[Double]): Array[Double] =
    f(blocks(), that.asInstanceOf[LocalBlocks[L]].iterator)
  override def collect(): Seq[(Array[K], Matrix)] = blocks().toVector
  private[samsara] def iterator: Iterator[(Array[K], Matrix)] = blocks()
}
