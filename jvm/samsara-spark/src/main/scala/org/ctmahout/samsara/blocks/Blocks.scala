package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.incore.Products

/**
 * Blocks of rows in partitions: on a cluster, or all in this process. What is done with them is the same code.
 *
 * The values of a block may be gone when the next one of its partition is asked for: who reads a matrix again in each pass
 * may do so into one array. What holds several blocks, or one for longer, holds [[lasting]] ones.
 */
private[samsara] trait Blocks[K] {
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

  /** What `f` makes of the first partition, of which it need not take all. */
  def ofFirst[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Option[T]

  /** What each partition has for others. */
  def send(f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Place, Piece)]): Shuffle

  /** The same from the partitions of one number of two matrices that have equally many. */
  def sendWith[L](that: Blocks[L])(
      f: (Int, Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Iterator[(Place, Piece)]): Shuffle
}
