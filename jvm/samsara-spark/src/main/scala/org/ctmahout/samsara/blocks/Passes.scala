package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.{BCast, BlockMapFunc, BlockMapFunc2, BlockReduceFunc}
import org.ctmahout.samsara.incore.{Products, SingleProducts, Slices}

/** One pass over blocks of rows each. What runs in tasks holds on to no context. */
private[samsara] object Passes {

  /**
   * What a function of Mahout's makes of each block. It may change the one it gets: that is a copy.
   *
   * @param n
   *   how many columns the function is said to make
   */
  def map[S, R](in: Blocks[S], f: BlockMapFunc[S, R], n: Int, keys: ClassTag[R]): Blocks[R] =
    in.map(mapped(_, f, n, keys))

  def mapped[S, R](block: (Array[S], Matrix), f: BlockMapFunc[S, R], n: Int, keys: ClassTag[R]): (Array[R], Matrix) =
    if (block._1.isEmpty) (keys.newArray(0), new DenseBlock(0, n))
    else {
      val (newKeys, result) = f((block._1, Products.block(block._2).clone()))
      if (result.columnSize != n || newKeys.length != result.rowSize)
        throw new IllegalArgumentException(
          s"a block function has made ${newKeys.length} keys and ${result.rowSize} x ${result.columnSize} values; " +
            s"$n columns are declared")
      (newKeys, Products.block(result))
    }

  /** A W. A result that would be much larger than a block is cut. */
  def timesRight[K](in: Blocks[K], right: BCast[DenseBlock]): Blocks[K] =
    in.mapParts { (_, blocks) =>
      val w = right.value
      blocks.flatMap(Alignment.cut(_, 8 * BlockHeight.of(w.columnSize))).map { case (keys, m) =>
        (keys, Products.times(Products.block(m), w): Matrix)
      }
    }

  /** The rows less one and the same row. */
  def less[K](in: Blocks[K], row: Array[Double]): Blocks[K] =
    in.map {
      case (keys, sparse: SparseBlock) => (keys, sparse.minus(row): Matrix)
      case (keys, m) => (keys, less(Products.block(m), row): Matrix)
    }

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
  def gram[K](in: Blocks[K], n: Int): DenseBlock = {
    val sum = in.sum(Math.multiplyExact(n, n)) { blocks =>
      val gram = new Products.Gram(n)
      blocks.foreach { case (_, m) => gram.add(Products.block(m)) }
      gram.sum
    }
    new DenseBlock(n, n, sum)
  }

  /** The same, and what `f` makes of the blocks of each partition, all of which it asks for. */
  def gramAnd[K, T](in: Blocks[K], n: Int)(f: Iterator[(Array[K], Matrix)] => T): (DenseBlock, Seq[T]) = {
    val (sum, results) = in.sumAnd(Math.multiplyExact(n, n)) { blocks =>
      val gram = new Products.Gram(n)
      val results = f(blocks.map { block => gram.add(Products.block(block._2)); block })
      (gram.sum, results)
    }
    (new DenseBlock(n, n, sum), results)
  }

  /** Y'Y and A'Y for Y = A Z, n columns of A and r of Z: Y is there for a moment only, some rows at a time. */
  def sketch[K](in: Blocks[K], z: BCast[DenseBlock], n: Int, r: Int, inSingle: Boolean): (DenseBlock, DenseBlock) = {
    val sum = in.sum((r + n) * r) { blocks =>
      val sketch = if (inSingle) new SingleProducts.SketchSums(z.value) else new Products.SketchSums(z.value)
      blocks.foreach { case (_, m) => sketch.add(Products.block(m)) }
      sketch.sums
    }
    apart(n, r, sum)
  }

  private def apart(n: Int, r: Int, sums: Array[Double]) =
    (new DenseBlock(r, r, sums.take(r * r)), new DenseBlock(n, r, sums, r * r, r))

  /**
   * The same in single precision, and Y. What one partition makes is what `keep` is given to keep: its blocks of Y, and
   * behind them its sums, as a row without keys.
   */
  def sketchAndRows[K](in: Blocks[K], z: BCast[DenseBlock], n: Int, r: Int)(
      keep: Blocks[K] => Blocks[K]): (DenseBlock, DenseBlock, Blocks[K]) = {
    val kept = keep(in.mapParts { (_, blocks) =>
      val sketch = new SingleProducts.SketchSums(z.value)
      blocks.map { case (keys, m) => (keys, sketch.times(Products.block(m)): Matrix) } ++
        Iterator.single((null.asInstanceOf[Array[K]], new DenseBlock(1, (r + n) * r, sketch.sums): Matrix))
    })
    val (gram, cross) = apart(n, r, kept.sum((r + n) * r)(_.collect { case (null, sums) => Products.dense(sums).data }.next()))
    (gram, cross, kept.mapParts((_, blocks) => blocks.filter(_._1 != null)))
  }

  /** The Y of such a pass once more. */
  def timesSingly[K](in: Blocks[K], z: BCast[DenseBlock]): Blocks[K] =
    in.map { case (keys, m) => (keys, SingleProducts.times(Products.block(m), z.value): Matrix) }

  /** A'B for matrices whose blocks have the same rows. */
  def cross[K, L](a: Blocks[K], b: Blocks[L], n: Int, w: Int): DenseBlock = {
    val sum = a.sumWith(b, n * w) { (x, y) =>
      val cross = new Products.Cross(n, w)
      Alignment.zip(x, y).foreach { case ((_, p), (_, q)) => cross.add(Products.block(p), Products.dense(q)) }
      cross.sum
    }
    new DenseBlock(n, w, sum)
  }

  /** A'B for the two side by side, n and w columns. */
  def crossWindows[K](both: Blocks[K], n: Int, w: Int): DenseBlock = {
    val sum = both.sum(n * w) { blocks =>
      val cross = new Products.Cross(n, w)
      for ((_, m) <- blocks) cross.add(Slices.columns(m, 0, n), Slices.columns(m, n, w))
      cross.sum
    }
    new DenseBlock(n, w, sum)
  }

  /**
   * A'B where one is on the driver, and keys are the numbers of its rows.
   *
   * @param isLeft
   *   whether it is A
   */
  def crossDriver[K](in: Blocks[K], small: BCast[DenseBlock], n: Int, w: Int, isLeft: Boolean): DenseBlock = {
    val sum = in.sum(n * w) { blocks =>
      val cross = new Products.Cross(n, w)
      for ((keys, m) <- blocks) {
        val rows = Slices.rows(small.value, Keys.numbers(keys, small.value.rowSize.toLong))
        if (isLeft) cross.add(rows, Products.dense(m)) else cross.add(Products.block(m), rows)
      }
      cross.sum
    }
    new DenseBlock(n, w, sum)
  }

  /** All rows, by number or else in the order of the partitions; and where each key is, but for Int keys. */
  def gathered[K](in: Blocks[K], m: Long, n: Int, repeated: Repeated): (DenseBlock, Seq[(Any, Int)]) = {
    val all = new DenseBlock(Math.toIntExact(m), n)
    val seen = new SeenRows(repeated)
    val labels = Seq.newBuilder[(Any, Int)]
    var next = 0
    for ((keys, block) <- in.collect(); rows = Products.dense(block)) {
      val to = keys match {
        case _: Array[Int] => Keys.numbers(keys, m)
        case _: Array[Long] => Keys.numbers(keys, m)
        case _ =>
          if (next + keys.length > m)
            throw new IllegalArgumentException(s"there are more rows than the $m that the matrix is said to have")
          Array.range(next, next + keys.length)
      }
      if (!keys.isInstanceOf[Array[Int]]) labels ++= keys.toSeq.zip(to.toSeq)
      for (i <- to.indices)
        if (seen.isSum(to(i))) for (j <- 0 until n) all.data(to(i) * n + j) += rows.getQuick(i, j)
        else System.arraycopy(rows.data, rows.offset + i * rows.stride, all.data, to(i) * n, n)
      next += to.length
    }
    (all, labels.result())
  }

  /** Where each key is, as Mahout's matrices have it. */
  def bindings(labels: Seq[(Any, Int)]): java.util.Map[String, Integer] = {
    val all = new java.util.HashMap[String, Integer]
    for ((label, row) <- labels) all.put(label.toString, row)
    all
  }

  /**
   * What `reduce` makes of what `f` makes of each block with rows: in the order of the blocks, partition by partition. How large
   * that is only `f` knows; so a few at most come to the driver, and those of many partitions meet on the cluster before.
   */
  def reduced[K](in: Blocks[K], f: BlockMapFunc2[K], reduce: BlockReduceFunc): Matrix = {
    def one(all: Iterator[Matrix]): Option[Matrix] = all.reduceLeftOption(reduce).map(Products.dense)
    def ofBlocks(blocks: Iterator[(Array[K], Matrix)]) =
      one(blocks.filter(_._1.nonEmpty).map { case (keys, block) => f((keys, Products.block(block).clone())) })
    @annotation.tailrec
    def few(made: Blocks[Int]): Blocks[Int] =
      if (made.parts <= MostReduced) made
      else {
        val groups = (made.parts + Fan - 1) / Fan
        few(made.send((part, all) => all.map { case (_, m) => (Place(part / Fan, 0, part, 0), Piece(null, null, Products.dense(m))) })
          .assembled[Int](groups, groups)((_, pieces) => one(pieces.map(_._2.values)).map((Array(0), _)).iterator))
      }
    val all = few(in.mapParts[Int]((_, blocks) => ofBlocks(blocks).map((Array(0), _)).iterator)).collect().map(_._2)
    all.reduceLeftOption(reduce).getOrElse(throw new IllegalArgumentException("a matrix without rows cannot be reduced"))
  }

  /** So many results come to the driver; so many of more meet in a task. */
  private val MostReduced = 4
  private val Fan = 32

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

  def addColumns(m: Matrix, f: Double => Double, sums: Array[Double]): Unit = m match {
    case sparse: SparseBlock if (sparse.less eq null) && f(0.0) == 0.0 =>
      for (e <- sparse.starts(sparse.from) until sparse.starts(sparse.from + sparse.rowSize)) sums(sparse.indices(e)) += f(sparse.values(e))
    case _ =>
      var i = 0
      while (i < m.rowSize) {
        var j = 0
        while (j < sums.length) { sums(j) += f(m.getQuick(i, j)); j += 1 }
        i += 1
      }
  }
}
