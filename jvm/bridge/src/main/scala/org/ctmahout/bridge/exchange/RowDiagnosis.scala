package org.ctmahout.bridge
package exchange

import java.util.BitSet

import org.apache.spark.rdd.RDD

/** Finds the row of a group that is there twice or not at all. Slower than the check before it, and run only if that fails. */
private[bridge] object RowDiagnosis {
  sealed trait Finding
  final case class Duplicate(row: Long) extends Finding
  final case class Missing(row: Long, count: Long) extends Finding

  /** The same of row numbers in this process. */
  def of(numbers: Array[Long]): Finding = {
    val sorted = numbers.sorted
    sorted.indices.drop(1).find(i => sorted(i) == sorted(i - 1)) match {
      case Some(i) => Duplicate(sorted(i))
      case None =>
        val gap = sorted.indices.find(i => sorted(i) != i)
        Missing(gap.getOrElse(sorted.length).toLong, sorted.length.toLong)
    }
  }

  // A million rows in two bit sets of 128 kB: small enough for a task, few enough keys for the driver.
  private val Bits = 20

  private final class Seen extends Serializable {
    val once = new BitSet
    val twice = new BitSet
    var count = 0L

    def add(i: Int): Seen = {
      if (once.get(i)) twice.set(i) else once.set(i)
      count += 1
      this
    }

    def merge(that: Seen): Seen = {
      val both = that.once.clone().asInstanceOf[BitSet]
      both.and(once)
      twice.or(that.twice)
      twice.or(both)
      once.or(that.once)
      count += that.count
      this
    }
  }

  private final case class Bucket(index: Long, duplicate: Int, missing: Int, count: Long) {
    def row(i: Int): Long = (index << Bits) + i
  }

  /** The smallest duplicate row, else the smallest missing one. All rows lie within 0 until rows. */
  def of(numbers: RDD[Array[Long]], rows: Long): Finding = {
    val mask = (1L << Bits) - 1
    val buckets = numbers
      .flatMap(_.iterator.map(row => (row >> Bits, (row & mask).toInt)))
      .aggregateByKey(new Seen)(_ add _, _ merge _)
      .map { case (index, seen) => Bucket(index, seen.twice.nextSetBit(0), seen.once.nextClearBit(0), seen.count) }
      .collect()
      .sortBy(_.index)
    buckets.find(_.duplicate >= 0) match {
      case Some(bucket) => Duplicate(bucket.row(bucket.duplicate))
      case None =>
        val count = buckets.map(_.count).sum
        val known = buckets.map(bucket => bucket.index -> bucket).toMap
        val last = (rows - 1) >> Bits
        val gap = Iterator.iterate(0L)(_ + 1).takeWhile(_ <= last).map { index =>
          known.get(index).fold(index << Bits)(bucket => bucket.row(bucket.missing))
        }
        // A full last bucket has its first gap behind the last row.
        val row = gap.zipWithIndex.collectFirst { case (r, i) if r < rows && (r >> Bits) == i => r }
        Missing(row.getOrElse(rows - 1), count)
    }
  }
}
