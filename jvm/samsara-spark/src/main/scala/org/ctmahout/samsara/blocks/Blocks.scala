package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.incore.Products

/**
 * Blocks of rows in partitions, on a cluster or all in this process. The same code works on both.
 *
 * The values of a block may be gone when the next block of its partition is asked for, so that a matrix which is read again in
 * each pass can be read into one array. Code that keeps a block for longer, or several of them, keeps [[lasting]] ones.
 */
private[samsara] trait Blocks[K] {
  def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R]

  /** The sum of `f` over the partitions, added in their order, so that two runs agree to the last bit. */
  def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double]

  /** The same, with a second result of `f` for each partition, in their order. */
  def sumAnd[T](size: Int)(f: Iterator[(Array[K], Matrix)] => (Array[Double], T)): (Array[Double], Seq[T])

  /** The same for two that have the same rows in the same blocks. */
  def sumWith[L](that: Blocks[L], size: Int)(
      f: (Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Array[Double]): Array[Double]

  /** The same blocks, each with an array of its own. */
  final def lasting: Blocks[K] = map { case (keys, m) => (keys, Products.block(m).copied: Matrix) }

  /** A'A of rows of n columns, computed on first use and held while there is memory for it. Read only. */
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

  /** New blocks from each partition and its number. */
  def mapParts[R](f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Array[R], Matrix)]): Blocks[R]

  /** Each block with the block of the same rows in `that`. */
  def zip[L, R](that: Blocks[L])(f: ((Array[K], Matrix), (Array[L], Matrix)) => (Array[R], Matrix)): Blocks[R]

  /** These partitions, then those of `that`. */
  def ++(that: Blocks[K]): Blocks[K]

  /** The same blocks in this many partitions or fewer, neighbours put together. Nothing is shuffled. */
  def coalesced(parts: Int): Blocks[K]

  /** `f` of each partition, on the driver, in the order of the partitions. */
  def fold[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Seq[T]

  /** `f` of the first partition, which it need not read to the end. */
  def ofFirst[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Option[T]

  /** Sends pieces of each partition to others. */
  def send(f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Place, Piece)]): Shuffle

  /** The same for two matrices with equally many partitions, taken in pairs. */
  def sendWith[L](that: Blocks[L])(
      f: (Int, Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Iterator[(Place, Piece)]): Shuffle
}
