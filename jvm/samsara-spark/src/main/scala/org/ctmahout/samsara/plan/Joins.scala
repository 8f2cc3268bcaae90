package org.ctmahout.samsara
package plan

import scala.collection.mutable

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.blocks.{Blocks, Far, Keys, Near, Piece, Place, Shuffle, Value}
import org.ctmahout.samsara.incore.{Products, Slices}

/**
 * Matrices whose rows belong together: by their place, if they are partitioned identically; by their number, if one is on the
 * driver; else by their keys, which takes a shuffle.
 */
private[samsara] final class Joins(context: SamsaraContext) {
  import Joins._

  /** `f` of the rows that share a key, `width` columns wide. */
  def combined[K](a: Value[K], b: Value[K], width: Int)(f: (DenseBlock, DenseBlock) => DenseBlock): Value[K] = (a, b) match {
    case (x: Near, y: Near) => Near(x.m, width)(f(x.matrix, y.matrix)).asInstanceOf[Value[K]]
    case (Far(x, m, _, keys), Far(y, _, _, _)) if x.tag == y.tag =>
      val zipped = x.evaluated(context).zip(y.evaluated(context)) { case ((k, p), (_, q)) =>
        (k, f(Products.dense(p), Products.dense(q)): Matrix)
      }
      Far.computed(zipped, x.tag, m, width, keys)
    case (far: Far[K @unchecked], near: Near) => withDriver(far, near, width)(f)
    case (near: Near, far: Far[K @unchecked]) => withDriver(far, near, width)((x, y) => f(y, x))
    case (x: Far[K @unchecked], y: Far[K @unchecked]) =>
      val both = sideBySide(x, y)
      val (n, w) = (a.n, b.n)
      val made = both.rows.evaluated(context).map { case (keys, m) =>
        (keys, f(Slices.columns(m, 0, n), Slices.columns(m, n, w)): Matrix)
      }
      Far.computed(made, both.rows.tag, both.m, width, both.keys)
  }

  private def withDriver[K](far: Far[K], near: Near, width: Int)(f: (DenseBlock, DenseBlock) => DenseBlock): Value[K] = {
    val (sent, m) = (context.send(near.matrix.whole), near.m)
    val made = far.rows.evaluated(context).map { case (keys, block) =>
      (keys, f(Products.dense(block), Slices.rows(sent.value, Keys.numbers(keys, m))): Matrix)
    }
    Far.computed(made, far.rows.tag, far.m, width, far.keys)
  }

  /** The columns of both, keyed as A. */
  def sideBySide[K, L](a: Far[K], b: Far[L]): Far[K] = {
    val (n, w) = (a.n, b.n)
    val (x, y) = (a.rows.evaluated(context), b.rows.evaluated(context))
    if (a.rows.tag == b.rows.tag)
      Far.computed(
        x.zip(y) { case ((k, p), (_, q)) => (k, Slices.beside(Products.dense(p), Products.dense(q)): Matrix) },
        a.rows.tag,
        a.m,
        n + w,
        a.keys)
    else {
      if (Keys.areNumbers(a.keys) != Keys.areNumbers(b.keys))
        throw new IllegalArgumentException(s"rows with ${a.keys} keys and rows with ${b.keys} keys: which belong together?")
      val groups = math.max(x.parts, y.parts)
      val pieces = scattered(x, 0, groups) ++ scattered(y, 1, groups)
      val joined = pieces.assembled[K](groups, groups)((_, pieces) => matched[K](pieces, n, w))
      Far.computed(joined, a.m, n + w, a.keys)
    }
  }

  /** A matrix on the driver, distributed. */
  def far[K](a: Value[K]): Far[K] = a match {
    case rows: Far[K @unchecked] => rows
    case near: Near =>
      val sent = context.distributed(near.matrix, context.parallelism)
      Far.computed(sent, near.m, near.n, near.keys).asInstanceOf[Far[K]]
  }

  /** A over B. B's rows are numbered on from A's. */
  def stacked[K](a: Value[K], b: Value[K]): Value[K] = (a, b) match {
    case (x: Near, y: Near) if (x.m + y.m).toDouble * x.n <= context.driverEntries.toDouble =>
      Near(x.m + y.m, x.n)(Slices.over(x.matrix, y.matrix)).asInstanceOf[Value[K]]
    case _ =>
      val (x, y) = (far(a), far(b))
      val first = x.m
      val below = y.rows.evaluated(context).map { case (keys, block) => (Keys.shifted(keys, first), block) }
      Far.computed(x.rows.evaluated(context) ++ below, x.m + y.m, x.n, x.keys)
  }
}

private[samsara] object Joins {

  /** Rows of one key to one group, those of A before those of B. */
  private def scattered[K](blocks: Blocks[K], order: Int, groups: Int): Shuffle = blocks.send { (part, blocks) =>
    for {
      ((keys, block), index) <- blocks.zipWithIndex
      dense = Products.dense(block)
      (group, which) <- dealt(keys, groups)
    } yield (Place(group, order, part, index), Piece(Keys.pick(keys, which), null, Slices.rows(dense, which)))
  }

  private def dealt(keys: Array[_], groups: Int): Iterator[(Int, Array[Int])] =
    keys.indices.groupBy(i => Math.floorMod(Keys.identity(keys, i).hashCode, groups)).iterator.map { case (group, rows) =>
      (group, rows.toArray)
    }

  /** The rows of a group, A's columns and B's. Holds all of the group in memory. */
  private def matched[K](pieces: Iterator[(Place, Piece)], n: Int, w: Int): Iterator[(Array[K], Matrix)] = {
    val (left, right) = pieces.toVector.partition(_._1.order == 0)
    val onRight = mutable.HashMap.empty[Any, (Piece, Int)]
    for ((_, piece) <- right; i <- piece.keys.indices; key = Keys.identity(piece.keys, i))
      if (onRight.put(key, (piece, i)).nonEmpty) refuse(key, "is there twice")
    val blocks = left.map { case (_, piece) =>
      val both = new DenseBlock(piece.values.rowSize, n + w)
      piece.values.copyRows(0, both.rowSize, both.data, n + w)
      for (i <- piece.keys.indices; key = Keys.identity(piece.keys, i)) {
        val (other, row) = onRight.remove(key).getOrElse(refuse(key, "is in one of two matrices only, or twice in one"))
        for (j <- 0 until w) both.setQuick(i, n + j, other.values.getQuick(row, j))
      }
      (piece.keys.asInstanceOf[Array[K]], both: Matrix)
    }
    for (key <- onRight.keysIterator) refuse(key, "is in one of two matrices only")
    blocks.iterator
  }

  private def refuse(key: Any, why: String): Nothing =
    throw new IllegalArgumentException(s"rows are joined by their keys, and the key $key $why")
}
