package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix

/** One partition, in this process: for a matrix that fits in a task. */
private[samsara] final class LocalBlocks[K](blocks: () => Iterator[(Array[K], Matrix)]) extends Blocks[K] {
  override def map[R](f: ((Array[K], Matrix)) => (Array[R], Matrix)): Blocks[R] = new LocalBlocks(() => blocks().map(f))
  override def sum(size: Int)(f: Iterator[(Array[K], Matrix)] => Array[Double]): Array[Double] = f(blocks())
  override def sumAnd[T](size: Int)(f: Iterator[(Array[K], Matrix)] => (Array[Double], T)): (Array[Double], Seq[T]) = {
    val (values, results) = f(blocks())
    (values, Seq(results))
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
  override def ofFirst[T: ClassTag](f: Iterator[(Array[K], Matrix)] => T): Option[T] = Some(f(blocks()))
  override def send(f: (Int, Iterator[(Array[K], Matrix)]) => Iterator[(Place, Piece)]): Shuffle =
    new LocalShuffle(() => f(0, blocks()))
  override def sendWith[L](that: Blocks[L])(
      f: (Int, Iterator[(Array[K], Matrix)], Iterator[(Array[L], Matrix)]) => Iterator[(Place, Piece)]): Shuffle =
    new LocalShuffle(() => f(0, blocks(), LocalBlocks.of(that)))
  private[samsara] def iterator: Iterator[(Array[K], Matrix)] = blocks()
}

private object LocalBlocks {
  def of[L](blocks: Blocks[L]): Iterator[(Array[L], Matrix)] = blocks.asInstanceOf[LocalBlocks[L]].iterator
}
