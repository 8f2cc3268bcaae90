package org.ctmahout.samsara
package blocks

import org.apache.spark.storage.StorageLevel
import org.ctmahout.samsara.incore.{Cholesky, GramMatrix, GramSchmidt, Products}

/**
 * An orthonormal basis Q of the columns of a tall Y = A W, made without storing anything as tall as A: Q = A F, where F has
 * the shape of W. One pass over A gives (A Z)'(A Z) and A'(A Z), for a Z with orthonormal columns that span those of W; the
 * rest is done on the driver. So a power iteration Y = A B', Q = qr(Y), B' = A'Q is one pass.
 *
 * Cholesky QR on such a Gram matrix loses digits like the square of its condition, once its columns are scaled. Where that is
 * too much, Z is turned into its eigenvectors and the pass is repeated: then the columns of A Z are nearly orthogonal, each of
 * a length of its own, and lose nothing. Directions that Y lacks become zero columns of Q.
 *
 * Where W has half as many columns as A or more, a pass for A'A costs less: (A Z)'(A Z) = Z'(A'A)Z and A'(A Z) = (A'A)Z for every
 * Z, those of all power iterations included. Where that is not accurate enough, the passes above follow. docs/adr/0025.
 *
 * @param a
 *   A, as it is stored
 * @param m
 *   rows of A
 * @param w
 *   n x r
 */
private[samsara] final class Basis[K](context: SamsaraContext, a: LazyProduct[K], m: Long, w: DenseBlock) {
  import Basis._

  private val n = w.rowSize
  private val r = w.columnSize
  requireRoom(n, r)

  /** With as many directions as columns Z is square, and any orthonormal one will do. */
  private val isSquare = r == n

  private val sketch: SketchGram[K] =
    if (isGramCheaper(n, r) && n.toLong * n <= context.driverEntries) ofGram
    else {
      val z = GramSchmidt.longestFirst(w)
      val isDssvd = CallingDecomposition.now == CallingDecomposition.Dssvd
      val single = if (!isSquare && isDssvd && mayDoInSingle(context, a, m, w, z)) Some(sketchedSingly(z)) else None
      single.filter(_.isGoodInSingle).getOrElse(refined(z, 1, spansAll = false))
    }

  /** W = Z X. */
  private lazy val coordinates: DenseBlock = sketch.z.fold(w)(Products.transposedTimes(_, w))

  /** Y'Y. */
  def gram: DenseBlock = Products.transposedTimes(coordinates, Products.times(sketch.gram, coordinates))

  /** ParallelLoop the basis A Z R^-1 so that Y = Q times an upper triangular matrix, which is what a QR decomposition is. */
  private lazy val turn: DenseBlock = GramSchmidt.inOrder(Products.times(sketch.factor, coordinates))

  private lazy val graded: LazyProduct[K] =
    sketch.single match {
      case Some(y) => new LazyProduct(y, None, a.tag, isStored = true).times(sketch.inverse)
      case None => a.times(sketch.z.fold(sketch.inverse)(Products.times(_, sketch.inverse)))
    }

  /** Q = A F. */
  lazy val rows: LazyProduct[K] = graded.times(turn).knownAs(this, DenseBlock.identity(r))

  /** A'Q. */
  lazy val cross: DenseBlock = Products.times(Products.times(sketch.cross, sketch.inverse), turn)

  def isOf(that: LazyProduct[_]): Boolean = that.right.isEmpty && (that.base eq a.base)

  /** Whether A F, computed row by row, is further from orthonormal than rounding. */
  def isWeak: Boolean = sketch.spread > Symbolic || sketch.loss > Loss

  /**
   * Q corrected by its own Gram matrix until it is orthonormal, for use as rows where those of A F are not good
   * enough. Weak directions are corrected by the stronger ones, and not the other way round. Where rounding has spoilt A F
   * itself it is stored first, and Q is the stored matrix times a small one.
   */
  lazy val corrected: LazyProduct[K] = {
    def correct(q: LazyProduct[K], round: Int): LazyProduct[K] = {
      val gram = Passes.gram(q.evaluated(context), r)
      val distance = GramMatrix.distance(gram)
      if (distance <= Orthonormal || round > MostRounds) q
      else {
        for (j <- 0 until r if gram.getQuick(j, j) == 0.0) gram.setQuick(j, j, 1.0)
        Cholesky(gram).fold(q) { factor =>
          val better = q.times(Cholesky.inverse(factor))
          if (distance <= NearlyOrthonormal) better else correct(better, round + 1)
        }
      }
    }
    val first = if (sketch.spread > Symbolic) graded.stored(context, StorageLevel.MEMORY_AND_DISK) else graded
    correct(first, 1).times(turn)
  }

  /** Y is kept for U where there is room, else made once more from A: with the same bits. */
  private def sketchedSingly(z: DenseBlock): SketchGram[K] = {
    val (rows, sent) = (a.evaluated(context), context.send(z.whole))
    if (context.hasRoomForSketch(4 * m * r)) {
      val (gram, cross, y) = Passes.sketchAndRows(rows, sent, n, r)(context.keptSketch)
      new SketchGram(n, Some(z), gram, cross, Some(y))
    } else {
      val (gram, cross) = Passes.sketch(rows, sent, n, r, inSingle = true)
      new SketchGram(n, Some(z), gram, cross, Some(Passes.timesSingly(rows, sent)))
    }
  }

  /**
   * From A'A alone, where that says enough. What it says of the columns of A themselves is right to the rounding of their own
   * lengths, as what a pass says of A Z; what it says of other directions, to the rounding of the longest.
   */
  private def ofGram: SketchGram[K] = {
    val all = a.gram(context, m, n, forBasis = false)
    if (isSquare) {
      val ofColumns = new SketchGram[K](n, None, all, all, None)
      if (ofColumns.isGood) ofColumns else refined(better(ofColumns), 2, spansAll = true)
    } else {
      val z = GramSchmidt.longestFirst(w)
      val cross = Products.times(all, z)
      val known = new SketchGram[K](n, Some(z), symmetric(Products.transposedTimes(z, cross)), cross, None, isGraded = false)
      // Where a direction is missing, it may only be too short to be seen from here.
      if (known.isGood && known.isWhole && known.spread <= SpreadInGram) known
      else refined(if (known.isGood) z else better(known), 2, spansAll = false)
    }
  }

  /** @param spansAll whether Z is square and has no zero column, so that A'(A Z) = Z (A Z)'(A Z) */
  @annotation.tailrec
  private def refined(z: DenseBlock, round: Int, spansAll: Boolean): SketchGram[K] = {
    val (rows, sent) = (a.evaluated(context), context.send(z.whole))
    val (gram, cross) =
      if (spansAll) {
        val gram = Passes.gram(Passes.timesRight(rows, sent), r)
        (gram, Products.times(z, gram))
      } else Passes.sketch(rows, sent, n, r, inSingle = false)
    val known = new SketchGram[K](n, Some(z), gram, cross, None)
    if (known.isGood || round > MostRounds) known else refined(better(known), round + 1, spansAll)
  }

  /** The directions of Z turned so that the columns of A Z are nearly orthogonal. */
  private def better(known: SketchGram[K]): DenseBlock = {
    val turned = GramMatrix.eigenvectors(known.gram)
    GramSchmidt.longestFirst(known.z.fold(turned)(Products.times(_, turned)))
  }
}

private[samsara] object Basis {
  private val Eps = math.ulp(1.0)

  /** Columns as far from orthonormal as this need no correction. */
  private val Orthonormal = 1e-13

  /** And as far as this are so after one correction, whose error is the square. */
  private val NearlyOrthonormal = 1e-7

  /** How far from orthonormal a factor of Cholesky's may leave the columns without a correction. */
  private val Loss = 1e-12

  /** Longest to shortest direction of A Z, beyond which A F loses more than rounding in its weakest. */
  private val Symbolic = 1e3

  /** Condition of A Z with its columns scaled, beyond which its Gram matrix says too little. */
  private val Scaled = 1e3

  /** What `spread` may be if products are in single precision. */
  private val SpreadInSingle = 100.0

  /** Lengths whose squares, divided among millions of rows or added up over them, are floats with all their digits. */
  private val ShortestInSingle = 1e-12
  private val LongestInSingle = 1e15

  /** What `spread` may be if A'A is all that is known: its squares keep nine digits of ten. */
  private val SpreadInGram = 1e3

  private val MostRounds = 5

  /**
   * Whether a pass for A'A, n^2 products a row since it is symmetric, costs no more than one for A Z and its sums: 4 n r + r^2, or
   * half of the first part in single precision.
   */
  private[samsara] def isGramCheaper(n: Int, r: Int): Boolean = 2L * r >= n

  /**
   * Whether a pass in single precision is likely to do. In a power iteration W = A'Q tells before how far A Z will spread, and where
   * that is too far the pass would be for nothing. Omega has columns of one length: there some rows of A tell, where these cost
   * little beside a pass.
   *
   * @param z
   *   of W's columns, the longest first
   * @param fromEntries
   *   entries of Z from which on rows are asked: it takes another job
   */
  private[samsara] def mayDoInSingle[K](
      context: SamsaraContext, a: LazyProduct[K], m: Long, w: DenseBlock, z: DenseBlock, fromEntries: Long = 1L << 20): Boolean = {
    val r = w.columnSize
    val ofW = Products.transposedTimes(z, w) // the longest of what is left when its direction is chosen is in row j
    def longest(j: Int) = (0 until r).map(i => math.abs(ofW.getQuick(j, i))).max
    val isProbed = w.rowSize.toLong * r >= fromEntries && m >= 64L * r
    longest(0) <= SpreadInSingle * longest(r - 1) && (!isProbed || mayDoInSome(context, a, z))
  }

  private def mayDoInSome[K](context: SamsaraContext, a: LazyProduct[K], z: DenseBlock): Boolean = {
    val (sent, r) = (context.send(z.whole), z.columnSize)
    val gram = a.evaluated(context).ofFirst { blocks =>
      val (sketch, rows) = (new Products.SketchSums(sent.value), blocks.flatMap(Alignment.cut(_, 4 * r)))
      var left = 4 * r
      while (left > 0 && rows.hasNext) {
        val some = Products.block(rows.next()._2)
        sketch.add(some)
        left -= some.rowSize
      }
      sketch.sums.take(r * r)
    }
    gram.forall { sums =>
      val known = new SketchGram[K](z.rowSize, Some(z), new DenseBlock(r, r, sums), z, None)
      // Of four times as many rows as directions the inverse comes out a third too large. To be wrong costs a pass either way.
      known.isGood && known.isWhole && known.spread <= 1.5 * SpreadInSingle && known.loss <= 1.5 * Loss
    }
  }

  private def symmetric(m: DenseBlock): DenseBlock = {
    val both = new DenseBlock(m.rowSize, m.rowSize)
    for (i <- 0 until m.rowSize; j <- 0 until m.rowSize) both.setQuick(i, j, (m.getQuick(i, j) + m.getQuick(j, i)) / 2)
    both
  }

  /** @throws IllegalArgumentException the sums of a pass would not fit into an array of Java's */
  private[samsara] def requireRoom(n: Int, r: Int): Unit =
    require(
      (r.toLong + n) * r <= Int.MaxValue - 8,
      s"a projection of $n columns on $r directions: its sums have ${(r.toLong + n) * r} entries, and an array has " +
        s"${Int.MaxValue - 8} at most; ask for fewer components"
    )

  /**
   * The Gram matrix of A Z and A'A Z, and the inverse factor that makes A Z orthonormal.
   *
   * @param n
   *   columns of A
   * @param z
   *   None for the identity
   * @param single
   *   A Z, if it is a matrix in single precision of which all of this is said
   * @param isGraded
   *   whether an entry of `gram` is right to the rounding of the lengths of its own two columns, and not of the longest one's
   */
  private final class SketchGram[K](
      n: Int, val z: Option[DenseBlock], val gram: DenseBlock, val cross: DenseBlock, val single: Option[Blocks[K]],
      isGraded: Boolean = true) {

    private val r = gram.rowSize
    private val lengths = Array.tabulate(r)(j => math.sqrt(math.max(0.0, gram.getQuick(j, j))))
    private val longest = if (r == 0) 0.0 else lengths.max

    /** Directions longer than the rounding of the pass, or whose squares are, the longest first. */
    private val real = (0 until r).filter { j =>
      val share = lengths(j) / longest
      (if (isGraded) share else share * share) > 4 * n * Eps
    }.sortBy(j => -lengths(j))

    /** Those of them that are independent, and the Cholesky factor of their Gram matrix, columns scaled to length one. */
    private val scaled = Cholesky.leading(scaledGram(real))
    private val live = real.take(scaled.rowSize)

    private def scaledGram(some: Seq[Int]): DenseBlock = {
      val g = new DenseBlock(some.size, some.size)
      for (i <- some.indices; j <- some.indices)
        g.setQuick(i, j, gram.getQuick(some(i), some(j)) / (lengths(some(i)) * lengths(some(j))))
      g
    }
    private val scaledInverse = Cholesky.inverse(scaled)

    /** In the Frobenius norm, scaled so that it is 1 at best: not too small, and less than r times too large. */
    private val condition = if (live.isEmpty) 1.0 else norm(scaled) * norm(scaledInverse) / live.size

    val isGood: Boolean = live.size == real.size && condition <= Scaled

    /** Whether no direction is missing. */
    def isWhole: Boolean = live.size == r

    /** About how far from orthonormal A Z R^-1 is: what rounding in the Gram matrix becomes by R^-1 on both sides. */
    def loss: Double = Eps * (if (isGraded) square(scaledInverse) else longest * longest * square(inverse))

    /**
     * Whether rounding A Z and sums of A'(A Z) to floats has changed nothing that counts. A singular value as small as the
     * shortest direction then has a relative error like 1e-8, and the space that A Z spans is off by so little that its
     * square does not count.
     */
    def isGoodInSingle: Boolean =
      isGood && isWhole && spread <= SpreadInSingle && loss <= Loss &&
        longest >= ShortestInSingle && longest <= LongestInSingle

    def spread: Double = if (live.isEmpty) 1.0 else longest / lengths(live.last) * condition

    /** R with A Z = Q R, but for directions that A Z does not have. */
    lazy val factor: DenseBlock = {
      val all = new DenseBlock(r, r)
      for (i <- live.indices; j <- live.indices) all.setQuick(i, live(j), scaled.getQuick(i, j) * lengths(live(j)))
      all
    }

    /** R^-1: makes of A Z an orthonormal Q, strong directions first, with zero columns at the end for those that are not there. */
    lazy val inverse: DenseBlock = {
      val all = new DenseBlock(r, r)
      for (i <- live.indices; j <- live.indices) all.setQuick(live(i), j, scaledInverse.getQuick(i, j) / lengths(live(i)))
      all
    }

    private def norm(m: DenseBlock) = math.sqrt(square(m))
    private def square(m: DenseBlock) = { val all = m.toArray; GramSchmidt.dot(all, all) }
  }
}
