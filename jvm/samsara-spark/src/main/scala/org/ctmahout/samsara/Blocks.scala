package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.spark.{Partitioner, SparkContext}
import org.apache.spark.rdd.RDD

/**
 * Blocks of rows in partitions: on a cluster, or all in this process. What is done with them is the same code.
 *
 * The values of a block may be gone when the next one of its partition is asked for: who reads a matrix again in each pass
 * may do so into one array. What holds several blocks, or one for longer, holds [[lasting]] ones.
 */
private[samsara] sealed trait Blocks[K] {
  def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R]

  /** Adds up what `f` makes of each partition, in the order of the partitions: two runs agree to the last bit. */
  def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double]

  /** The same, and what `f` makes besides of each partition, in their order. */
  def sumAnd[T](size: Int)(f: Iterator[(Array[K], Matrix)] => (Array[Double], T)): (Array[Double], Seq[T])

  /** The same for two that have the same rows in the same blocks. */
  def sumWith[L](that: Blocks[L], size: Int)(
      f: (Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Array[Double]): Array[Double]

  /** The same blocks with values of their own. */
  final def lasting: Blocks[K] = map { case (keys, m) => (keys, Products.block(m).copied: Matrix) }

  /** A'A of rows of n columns: made when it is first asked for, and held while there is memory for it. Not to be written to. */
  final def gram(n: Int): DenseBlock = synchronized {
    Option(lastGram.get).getOrElse {
      val gram = Passes.gram(this, n)
      lastGram = new java.lang.ref.SoftReference(gram)
      gram
    }
  }
  private var lastGram = new java.lang.ref.SoftReference[DenseBlock](null)

  /** All blocks, on the driver. */
  def collect(): Seq[(Array[K], Matrix)]

  /** Number of partitions. */
  def parts: Int

  /** New blocks from each partition, which has the number given. */
  def mapParts[R](f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Array[R], Matrix)]): Blocks[R]

  /** Each block with the block of the same rows in `that`. */
  def zip[L, R](that: Blocks[L])(f: ((Array[K], Matrix), (Array[L], Matrix)) => (Array[R], Matrix)): Blocks[R]

  /** These partitions, then those of `that`. */
  def ++(that: Blocks[K]): Blocks[K]

  /** The same blocks in this many partitions or fewer, neighbours put together. Nothing is shuffled. */
  def coalesced(parts: Int): Blocks[K]

  /** What `f` makes of each partition, on the driver, in the order of the partitions. */
  def fold[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Seq[T]

  /** What each partition has for others. */
  def send(f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Place, Piece)]): Exchange

  /** The same from the partitions of one number of two matrices that have equally many. */
  def sendWith[L](that: Blocks[L])(
      f: (Int, Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Iterator[(Place, Piece)]): Exchange
}

private[samsara] final class SparkBlocks[K](val rdd: RDD[(Array[K], Matrix)]) extends Blocks[K] {
  import SparkBlocks._

  override def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R] = new SparkBlocks(rdd.map(f))

  override def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double] =
    total(rdd.mapPartitionsWithIndex((index, blocks) => Iterator((index, new Sum[Nothing](f(blocks), Nil)))), size).values

  override def sumAnd[T](size: Int)(f: Iterator[(Array[K], Matrix)] => (Array[Double], T)): (Array[Double], Seq[T]) = {
    val all = total(
      rdd.mapPartitionsWithIndex { (index, blocks) =>
        val (values, told) = f(blocks)
        Iterator((index, new Sum(values, Seq(told))))
      },
      size)
    (all.values, all.told)
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
  override def send(f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Place, Piece)]): Exchange =
    new SparkExchange(rdd.mapPartitionsWithIndex(f))
  override def sendWith[L](that: Blocks[L])(
      f: (Int, Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Iterator[(Place, Piece)]): Exchange =
    new SparkExchange(
      rdd.zipPartitions(rddOf(that))((x, y) => f(org.apache.spark.TaskContext.getPartitionId(), x, y)))
}

private[samsara] object SparkBlocks {
  private def rddOf[L](blocks: Blocks[L]): RDD[(Array[L], Matrix)] = blocks.asInstanceOf[SparkBlocks[L]].rdd

  /** More than this many bytes of partial sums are added up on the cluster before they come to the driver. */
  private val DriverBytes = 128L << 20

  /** The same where Spark refuses results of less: other jobs may have results under way, too. */
  private def driverBytes(sc: SparkContext): Long = {
    val most = sc.getConf.getSizeAsBytes("spark.driver.maxResultSize", "1g")
    if (most <= 0) DriverBytes else math.min(DriverBytes, most / 4)
  }

  /** A sum over some partitions, and what they tell besides. */
  final class Sum[+T](val values: Array[Double], val told: Seq[T]) extends Serializable

  private def total[T](parts: RDD[(Int, Sum[T])], size: Int): Sum[T] = {
    val most = driverBytes(parts.sparkContext)
    def isMuch(sums: RDD[_]) = sums.getNumPartitions > 1 && sums.getNumPartitions.toLong * size * 8 > most
    val few = Iterator.iterate(parts)(addedUp[T]).dropWhile(isMuch).next().collect().sortBy(_._1).map(_._2)
    new Sum(few.foldLeft(new Array[Double](size))((sum, part) => add(sum, part.values)), few.toSeq.flatMap(_.told))
  }

  /** The sums of neighbours, as many as give the root of the number; each is added as it comes, and none but the sum is held. */
  private def addedUp[T](parts: RDD[(Int, Sum[T])]): RDD[(Int, Sum[T])] = {
    val count = parts.getNumPartitions
    val fan = math.ceil(math.sqrt(count.toDouble)).toInt
    parts
      .repartitionAndSortWithinPartitions(new Neighbours(fan, (count + fan - 1) / fan))
      .mapPartitionsWithIndex((index, sums) => sums.map(_._2).reduceLeftOption(joined[T]).map((index, _)).iterator)
  }

  /** Every so many numbers in one partition. */
  private final class Neighbours(private val fan: Int, override val numPartitions: Int) extends Partitioner {
    override def getPartition(key: Any): Int = key.asInstanceOf[Int] / fan
    override def equals(that: Any): Boolean = that match {
      case other: Neighbours => other.fan == fan && other.numPartitions == numPartitions
      case _ => false
    }
    override def hashCode: Int = fan * 31 + numPartitions
  }

  private def joined[T](a: Sum[T], b: Sum[T]): Sum[T] = new Sum(add(a.values, b.values), a.told ++ b.told)

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
  override def sumAnd[T](size: Int)(f: Iterator[(Array[K], Matrix)] => (Array[Double], T)): (Array[Double], Seq[T]) = {
    val (values, told) = f(blocks())
    (values, Seq(told))
  }
  override def sumWith[L](that: Blocks[L], size: Int)(
      f: (Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Array[Double]): Array[Double] =
    f(blocks(), LocalBlocks.of(that))
  override def collect(): Seq[(Array[K], Matrix)] = lasting.asInstanceOf[LocalBlocks[K]].iterator.toVector

  override def parts: Int = 1
  override def mapParts[R](f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Array[R], Matrix)]): Blocks[R] =
    new LocalBlocks(() => f(0, blocks()))
  override def zip[L, R](that: Blocks[L])(f: ((Array[K], Matrix), (Array[L], Matrix)) => (Array[R], Matrix)): Blocks[R] =
    new LocalBlocks(() => Alignment.zip(blocks(), LocalBlocks.of(that)).map { case (p, q) => f(p, q) })
  override def ++(that: Blocks[K]): Blocks[K] = new LocalBlocks(() => blocks() ++ LocalBlocks.of(that))
  override def coalesced(parts: Int): Blocks[K] = this
  override def fold[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Seq[T] = Seq(f(blocks()))
  override def send(f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Place, Piece)]): Exchange =
    new LocalExchange(() => f(0, blocks()))
  override def sendWith[L](that: Blocks[L])(
      f: (Int, Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Iterator[(Place, Piece)]): Exchange =
    new LocalExchange(() => f(0, blocks(), LocalBlocks.of(that)))
  private[samsara] def iterator: Iterator[(Array[K], Matrix)] = blocks()
}

private object LocalBlocks {
  def of[L](blocks: Blocks[L]): Iterator[(Array[L], Matrix)] = blocks.asInstanceOf[LocalBlocks[L]].iterator
}
