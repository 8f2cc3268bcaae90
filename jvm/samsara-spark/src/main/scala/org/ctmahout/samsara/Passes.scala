package org.ctmahout.samsara

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.BlockMapFunc
import org.apache.spark.broadcast.Broadcast
import org.apache.spark.rdd.RDD

/** What runs in tasks: one pass over blocks of rows each. Nothing here holds on to a context. */
private[samsara] object Passes {
  type Blocks[K] = RDD[(Array[K], Matrix)]

  /** More than this many bytes of partial sums are added up on the cluster before they come to the driver. */
  private val DriverBytes = 128L << 20

  /** @param keep whether blocks of `in` must stay as they are: Mahout's functions may change the one they get */
  def map[S, R](in: Blocks[S], f: BlockMapFunc[S, R], keep: Boolean): Blocks[R] =
    in.map { case (keys, m) =>
      val (newKeys, result) = f((keys, if (keep) Products.block(m).clone() else m))
      (newKeys, Products.block(result): Matrix)
    }

  def timesRight[K](in: Blocks[K], right: Broadcast[DenseBlock]): Blocks[K] =
    in.map { case (keys, m) => (keys, Products.times(Products.block(m), right.value): Matrix) }

  /** A'A for n columns. */
  def gram[K](in: Blocks[K], n: Int): DenseBlock = {
    val parts = in.mapPartitionsWithIndex { (index, blocks) =>
      val cross = new Products.Cross(n, n)
      blocks.foreach { case (_, m) => val d = Products.dense(m); cross.add(d, d) }
      Iterator((index, cross.sum))
    }
    val c = new DenseBlock(n, n, sum(parts, n * n))
    // The two halves differ in rounding; what follows wants them equal.
    for (i <- 0 until n; j <- 0 until i) c.setQuick(i, j, c.getQuick(j, i))
    c
  }

  /** A'B for matrices whose blocks have the same rows. */
  def cross[K, L](a: Blocks[K], b: Blocks[L], n: Int, w: Int): DenseBlock = {
    val parts = a.zipPartitions(b, preservesPartitioning = false) { (x, y) =>
      val cross = new Products.Cross(n, w)
      x.zip(y).foreach { case ((_, p), (_, q)) => cross.add(Products.block(p), Products.dense(q)) }
      Iterator(cross.sum)
    }
    new DenseBlock(n, w, sum(parts.mapPartitionsWithIndex((index, sums) => sums.map((index, _))), n * w))
  }

  /** A'x for a vector whose entries belong to the rows with these numbers as keys. */
  def crossVector[K](a: Blocks[K], x: Broadcast[Array[Double]], n: Int): DenseBlock = {
    val parts = a.mapPartitionsWithIndex { (index, blocks) =>
      val cross = new Products.Cross(n, 1)
      blocks.foreach { case (keys, m) =>
        val entries = keys.map {
          case number: Int => x.value(number)
          case number: Long => x.value(Math.toIntExact(number))
          case other => throw new UnsupportedOperationException(s"A'x of rows with keys like $other, which are no numbers")
        }
        cross.add(Products.block(m), new DenseBlock(keys.length, 1, entries))
      }
      Iterator((index, cross.sum))
    }
    new DenseBlock(n, 1, sum(parts, n))
  }

  /** Sums over all rows: `f(row values, sums)` adds one row. */
  def columnSums[K](in: Blocks[K], n: Int)(f: Double => Double): Array[Double] =
    sum(
      in.mapPartitionsWithIndex { (index, blocks) =>
        val sums = new Array[Double](n)
        blocks.foreach { case (_, m) => addColumns(m, f, sums) }
        Iterator((index, sums))
      },
      n)

  def addColumns(m: Matrix, f: Double => Double, sums: Array[Double]): Unit = {
    var i = 0
    while (i < m.rowSize) {
      var j = 0
      while (j < sums.length) { sums(j) += f(m.getQuick(i, j)); j += 1 }
      i += 1
    }
  }

  /** Adds parts up in the order of their partitions, whichever task ends first: so that two runs agree to the last bit. */
  private def sum(parts: RDD[(Int, Array[Double])], size: Int): Array[Double] = {
    val count = parts.getNumPartitions
    val few =
      if (count.toLong * size * 8 <= DriverBytes) parts
      else {
        val fan = math.ceil(math.sqrt(count.toDouble)).toInt
        parts
          .map { case (index, a) => (index / fan, (index, a)) }
          .groupByKey((count + fan - 1) / fan)
          .mapValues(_.toArray.sortBy(_._1).map(_._2).reduceLeft(add(_, _)))
      }
    val total = new Array[Double](size)
    few.collect().sortBy(_._1).foreach { case (_, a) => add(total, a) }
    total
  }

  private def add(into: Array[Double], a: Array[Double]): Array[Double] = {
    var i = 0
    while (i < a.length) { into(i) += a(i); i += 1 }
    into
  }
}
