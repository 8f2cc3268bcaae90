package org.ctmahout.bridge
package exchange

import scala.collection.mutable
import scala.util.Try

import org.apache.spark.rdd.{PartitionPruningRDD, RDD}
import org.apache.spark.storage.StorageLevel
import org.apache.spark.util.CollectionAccumulator
import org.ctmahout.samsara.incore.Products

/**
 * A group in blocks of rows, of which as many as fit are kept in memory; the caller frees it. Its rows are checked by whatever
 * passes over the blocks: reading them all for that alone would be another pass. So the result of a pass counts only if it was computed within
 * [[checked]]. Rows that cannot be in the matrix are in no block, and do no harm until they are found.
 *
 * @param read
 *   the blocks, read again each time; the argument says whether their values last, or are overwritten by the next
 * @param bytes
 *   of the group's values
 * @param memory
 *   bytes that Spark has to keep data in
 */
private[bridge] final class CachedGroup(
    path: String, group: MatrixGroup, read: Boolean => RDD[CheckedBlock], bytes: Long, memory: Long) {
  import CachedGroup._

  private val keepable = read(true)
  private val count = keepable.getNumPartitions
  private val kept = fitting(count, bytes, memory)
  private val cached = until(keepable, kept)
  private val rest = from(read(false), kept)
  cached.setName(s"$path, group ${group.group}").persist(StorageLevel.MEMORY_ONLY)
  private val checks = keepable.sparkContext.collectionAccumulator[(Int, RowCheck)]
  private val multiplying = keepable.sparkContext.collectionAccumulator[String]

  /** In the order of partitions; the values of one may be gone when the next is asked for. */
  val blocks: RDD[CheckedBlock] = telling(cached ++ rest, checks, multiplying)

  /** Memory that is free and will be taken by what is kept of the blocks. */
  def promisedBytes: Long = if (check.isDefined || count == 0) 0 else bytes / count * kept

  /**
   * The result of `body`, which passes over the blocks, and |A|^2.
   *
   * @throws CtmahoutException
   *   the rows are not those that the manifest describes: reported in place of what failed in `body` because of them
   */
  def checked[T](body: => T): (T, Double) = ExchangeReader.readingFrom(path) {
    val result = Try(body)
    if (check.isEmpty) {
      result.get // has failed before all was read, and knows why
      blocks.foreach(_ => ())
    }
    val whole = check.getOrElse(throw new IllegalStateException("not every partition has told what it read"))
    GroupCheck.refusal(path, group, whole)(RowDiagnosis.of(blocks.map(_.rows), group.rows)).foreach(r => throw r.error)
    (result.get, whole.squaredNorm)
  }

  /** The kernels of the JVMs that read blocks. */
  def kernels: Set[String] = {
    val all = mutable.Set.empty[String]
    multiplying.value.forEach(name => all += name)
    all.toSet
  }

  def free(): Unit = cached.unpersist()

  /** The check of all rows, summed in the order of partitions so that its bits are always the same; None until all were read. */
  private def check: Option[RowCheck] = {
    val known = mutable.HashMap.empty[Int, RowCheck]
    checks.value.forEach(told => known += told)
    if (known.size < count) None else Some(RowCheck.sum(Iterator.range(0, count).map(known)))
  }
}

private[bridge] object CachedGroup {

  /** The share of Spark's storage memory that a matrix may take if it is kept whole, and if it is kept in part. */
  private val FullShare = 0.9
  private val PartialShare = 0.6

  /**
   * How many of a matrix's partitions are kept in memory; the others are decoded anew in each pass, which takes a third of
   * the time of spilling them and reading them back. Either all, or few enough to leave room: beside a heap full of what is
   * kept, collecting the garbage of decoding costs as much as is saved. On a cluster Spark keeps what fits.
   */
  private[bridge] def fitting(partitions: Int, bytes: Long, memory: Long): Int =
    if (bytes <= roomForWhole(memory)) partitions else (partitions * (PartialShare * memory / bytes)).toInt

  /** Bytes of matrices that are kept whole. */
  private[bridge] def roomForWhole(memory: Long): Long = (FullShare * memory).toLong

  private def until(blocks: RDD[CheckedBlock], partition: Int) = PartitionPruningRDD.create(blocks, _ < partition)

  private def from(blocks: RDD[CheckedBlock], partition: Int) = PartitionPruningRDD.create(blocks, _ >= partition)

  /**
   * The same blocks; after the last one of a partition, `checks` gets its number and the check of them all. Blocks that
   * are kept are reported each time too: a task that fails after reading finds them kept when it is tried again.
   */
  private def telling(
      blocks: RDD[CheckedBlock],
      checks: CollectionAccumulator[(Int, RowCheck)],
      multiplying: CollectionAccumulator[String]): RDD[CheckedBlock] =
    blocks.mapPartitionsWithIndex { (partition, some) =>
      var sum = RowCheck.sum(Iterator.empty)
      def tell() = {
        checks.add((partition, sum))
        multiplying.add(Products.blasName)
        Iterator.empty
      }
      some.map { block =>
        sum = sum.merge(block.check)
        block
      } ++ tell()
    }
}
