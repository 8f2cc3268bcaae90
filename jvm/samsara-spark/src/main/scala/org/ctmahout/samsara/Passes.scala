package org.ctmahout.samsara

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.{BCast, BlockMapFunc}

/** One pass over blocks of rows each. What runs in tasks holds on to no context. */
private[samsara] object Passes {

  /** @param keep whether blocks of `in` must stay as they are: Mahout's functions may change the one they get */
  def map[S, R](in: Blocks[S], f: BlockMapFunc[S, R], keep: Boolean): Blocks[R] =
    in.map { case (keys, m) =>
      val (newKeys, result) = f((keys, if (keep) Products.block(m).clone() else m))
      (newKeys, Products.block(result): Matrix)
    }

  def timesRight[K](in: Blocks[K], right: BCast[DenseBlock]): Blocks[K] =
    in.map { case (keys, m) => (keys, Products.times(Products.block(m), right.value): Matrix) }

  /** The rows less one and the same row. */
  def less[K](in: Blocks[K], row: Array[Double]): Blocks[K] =
    in.map { case (keys, m) => (keys, less(Products.block(m), row): Matrix) }

  def less(m: Block, row: Array[Double]): DenseBlock = {
    val rest = new DenseBlock(m.rowSize, m.columnSize, m.toArray)
    for (i <- 0 until rest.rowSize) {
      val start = i * row.length
      var j = 0
      while (j < row.length) { rest.data(start + j) -= row(j); j += 1 }
    }
    rest
  }

  /** A'A for n columns. */
  def gram[K](in: Blocks[K], n: Int): DenseBlock =
    new DenseBlock(n, n, in.sum(n * n) { blocks =>
      val gram = new Products.Gram(n)
      blocks.foreach { case (_, m) => gram.add(Products.block(m)) }
      gram.sum
    })

  /** (A Z)'(A Z) and A'(A Z) for n columns of A and r of Z: A Z is there for a moment only, some rows at a time. */
  def sketch[K](in: Blocks[K], z: BCast[DenseBlock], n: Int, r: Int): (DenseBlock, DenseBlock) = {
    val sums = in.sum((r + n) * r) { blocks =>
      val sketch = new Products.Sketch(z.value)
      blocks.foreach { case (_, m) => sketch.add(Products.block(m)) }
      sketch.sums
    }
    (new DenseBlock(r, r, sums.take(r * r)), new DenseBlock(n, r, sums.drop(r * r)))
  }

  /** A'B for matrices whose blocks have the same rows. */
  def cross[K, L](a: Blocks[K], b: Blocks[L], n: Int, w: Int): DenseBlock =
    new DenseBlock(n, w, a.sumWith(b, n * w) { (x, y) =>
      val cross = new Products.Cross(n, w)
      x.zip(y).foreach { case ((_, p), (_, q)) => cross.add(Products.block(p), Products.dense(q)) }
      cross.sum
    })

  /** A'x for a vector whose entries belong to the rows with these numbers as keys. */
  def crossVector[K](a: Blocks[K], x: BCast[Array[Double]], n: Int): DenseBlock =
    new DenseBlock(n, 1, a.sum(n) { blocks =>
      val cross = new Products.Cross(n, 1)
      blocks.foreach { case (keys, m) =>
        val entries = keys.map {
          case number: Int => x.value(number)
          case number: Long => x.value(Math.toIntExact(number))
          case other => throw new UnsupportedOperationException(s"A'x of rows with keys like $other, which are no numbers")
        }
        cross.add(Products.block(m), new DenseBlock(keys.length, 1, entries))
      }
      cross.sum
    })

  /** Sums over all rows of what `f` makes of each value. */
  def columnSums[K](in: Blocks[K], n: Int)(f: Double => Double): Array[Double] =
    in.sum(n) { blocks =>
      // Block by block: rounding grows with the number of values that one sum takes.
      val sums = new Array[Double](n)
      blocks.foreach { case (_, m) =>
        val ofBlock = new Array[Double](n)
        addColumns(m, f, ofBlock)
        for (j <- sums.indices) sums(j) += ofBlock(j)
      }
      sums
    }

  def addColumns(m: Matrix, f: Double => Double, sums: Array[Double]): Unit = {
    var i = 0
    while (i < m.rowSize) {
      var j = 0
      while (j < sums.length) { sums(j) += f(m.getQuick(i, j)); j += 1 }
      i += 1
    }
  }
}
