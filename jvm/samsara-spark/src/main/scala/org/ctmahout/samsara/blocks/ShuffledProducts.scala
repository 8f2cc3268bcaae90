package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.incore.{Products, Slices}

/** Products with results as large as a cluster's matrices, a band of rows at a time. They shuffle. */
private[samsara] object ShuffledProducts {

  /** A', n x m, for rows with numbers below m. */
  def transposed[K](a: Blocks[K], m: Int, n: Int, repeated: Repeated): Far[Int] = {
    val bands = new Bands(n, BlockHeight.of(m))
    val pieces = a.send { (part, blocks) =>
      for (((keys, block), index) <- blocks.zipWithIndex; columns = Keys.numbers(keys, m.toLong); band <- bands.all)
        yield {
          val turned = Products.transposed(Slices.columns(block, bands.from(band), bands.rows(band)))
          (Place(band, 0, part, index), Piece(null, columns, turned))
        }
    }
    val made = pieces.assembled[Int](bands.count, a.parts) { (band, pieces) =>
      val rows = new DenseBlock(bands.rows(band), m)
      val seen = new SeenRows(repeated)
      for ((_, piece) <- pieces) put(piece, rows, seen)
      Iterator.single((bands.keys(band), rows))
    }
    Far.computed(made, n.toLong, m, ClassTag.Int)
  }

  /**
   * A'B, n x w, for A and B side by side: n columns from `a0` on, and w from `b0` on. Partial sums are added in the order of
   * the partitions.
   */
  def cross[K](both: Blocks[K], a0: Int, n: Int, b0: Int, w: Int): Far[Int] = {
    val bands = new Bands(n, BlockHeight.of(w))
    val pieces = both.send { (part, blocks) =>
      val all = held(blocks) // gone through once for each band
      val wanted = if (all.nonEmpty || part == 0) bands.all else Iterator.empty // zeros, for a matrix without rows
      for (band <- wanted) yield {
        val cross = new Products.Cross(bands.rows(band), w)
        for ((_, block) <- all) cross.add(Slices.columns(block, a0 + bands.from(band), bands.rows(band)), Slices.columns(block, b0, w))
        (Place(band, 0, part, 0), Piece(null, null, new DenseBlock(bands.rows(band), w, cross.sum)))
      }
    }
    val made = pieces.assembled[Int](bands.count, both.parts) { (band, pieces) =>
      val sum = pieces.next()._2.values.toArray
      for ((_, piece) <- pieces; i <- sum.indices) sum(i) += piece.values.data(i)
      Iterator.single((bands.keys(band), new DenseBlock(bands.rows(band), w, sum)))
    }
    Far.computed(made, n.toLong, w, ClassTag.Int)
  }

  /**
   * A B', m x p, p being the number of B's rows. B goes to each partition of A, block by block; what comes of some rows of A
   * and each block of B is put together to rows.
   */
  def pairs[K](context: SamsaraContext, a: Far[K], b: Far[_]): Far[K] = {
    val (p, height) = (Math.toIntExact(b.m), BlockHeight.of(Math.toIntExact(b.m)))
    val left = a.rows.evaluated(context)
    val pieces = left.sendWith(everywhere(b.rows.evaluated(context), left.parts, b.m)) { (part, x, y) =>
      val rows = held(x.flatMap(Alignment.cut(_, height)))
      for {
        ((columns, block), index) <- y.zipWithIndex
        right = Products.transposed(Products.dense(block))
        ((keys, some), at) <- rows.iterator.zipWithIndex
      } yield (Place(part, at, 0, index), Piece(keys, columns, Products.times(Products.block(some), right).whole))
    }
    val rows = pieces.assembled[K](left.parts, left.parts) { (_, pieces) =>
      Iterator.continually(pieces).takeWhile(_.hasNext).map { _ =>
        val keys = pieces.head._2.keys.asInstanceOf[Array[K]]
        val all = new DenseBlock(keys.length, p)
        val seen = new SeenRows(Repeated.Refused)
        for ((_, piece) <- Shuffle.of(pieces)(_.order)) put(piece, all, seen)
        (keys, all)
      }
    }
    Far.computed(rows, a.m, p, a.keys)
  }

  /** The blocks over more partitions than now: each partition's rows go to neighbours among the new ones. */
  def spread[K](a: Blocks[K], parts: Int): Blocks[K] = {
    val now = a.parts
    val pieces = a.send { (part, blocks) =>
      val (first, last) = ((part.toLong * parts / now).toInt, ((part + 1L) * parts / now).toInt)
      for {
        ((keys, block), index) <- blocks.zipWithIndex
        height = math.max(1, (block.rowSize + last - first - 1) / (last - first))
        ((some, rows), to) <- Alignment.cut((keys, block), height).zipWithIndex
      } yield (Place(first + to, 0, part, index), Piece(some, null, ownCopy(rows)))
    }
    pieces.assembled[K](parts, parts)((_, pieces) => blocksOf(pieces))
  }

  private def ownCopy(m: Matrix): DenseBlock = new DenseBlock(m.rowSize, m.columnSize, Products.block(m).toArray)

  /** All at once. */
  private def held[K](blocks: Iterator[(Array[K], Matrix)]): Array[(Array[K], Matrix)] =
    blocks.map { case (keys, m) => (keys, Products.block(m).copied: Matrix) }.toArray

  /** All blocks in each of so many partitions, numbers as keys. */
  private def everywhere[L](b: Blocks[L], parts: Int, p: Long): Blocks[Int] = {
    val copies = b.send { (part, blocks) =>
      for (((keys, block), index) <- blocks.zipWithIndex; rows = ownCopy(block); to <- Iterator.range(0, parts))
        yield (Place(to, 0, part, index), Piece(Keys.numbers(keys, p), null, rows))
    }
    copies.assembled[Int](parts, parts)((_, pieces) => blocksOf(pieces))
  }

  private def blocksOf[K](pieces: Iterator[(Place, Piece)]): Iterator[(Array[K], Matrix)] =
    pieces.map { case (_, piece) => (piece.keys.asInstanceOf[Array[K]], piece.values) }

  /** Puts the columns of a piece where they belong. */
  private def put(piece: Piece, rows: DenseBlock, seen: SeenRows): Unit =
    for (j <- piece.columns.indices; to = piece.columns(j); isSum = seen.isSum(to); i <- 0 until rows.rowSize) {
      val x = piece.values.getQuick(i, j)
      rows.setQuick(i, to, if (isSum) rows.getQuick(i, to) + x else x)
    }

  /** Rows 0 .. n - 1 in bands. */
  private final class Bands(n: Int, height: Int) extends Serializable {
    val count: Int = (n + height - 1) / height
    def all: Iterator[Int] = Iterator.range(0, count)
    def from(band: Int): Int = band * height
    def rows(band: Int): Int = math.min(height, n - from(band))
    def keys(band: Int): Array[Int] = Array.range(from(band), from(band) + rows(band))
  }
}
