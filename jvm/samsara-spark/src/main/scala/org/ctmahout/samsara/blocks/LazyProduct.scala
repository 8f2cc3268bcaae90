package org.ctmahout.samsara
package blocks

import java.util.concurrent.atomic.AtomicLong

import org.apache.spark.storage.StorageLevel
import org.ctmahout.samsara.incore.Products

/**
 * Blocks of rows on the cluster, times a small matrix that has not been multiplied in yet: A W is never made if all that is
 * asked of it is A'(A W) or (A W) T = A (W T).
 *
 * @param tag
 *   two of one tag have the same keys in the same order in the same partitions, so they can be zipped
 * @param isStored
 *   whether `base` can be read again without computing it again
 * @param known
 *   of which orthonormal basis these rows are a multiple, and which, if it is known
 * @param level
 *   how the rows are to be kept once they are made
 */
private[samsara] final class LazyProduct[K](
    val base: Blocks[K],
    val right: Option[DenseBlock],
    val tag: Long,
    val isStored: Boolean,
    known: Option[(Basis[K], DenseBlock)] = None,
    level: Option[StorageLevel] = None) {

  def times(m: DenseBlock): LazyProduct[K] =
    new LazyProduct(
      base,
      Some(right.fold(m)(Products.times(_, m))),
      tag,
      isStored,
      known.map { case (basis, t) => (basis, Products.times(t, m)) })

  def knownAs(basis: Basis[K], multiple: DenseBlock): LazyProduct[K] =
    new LazyProduct(base, right, tag, isStored, Some((basis, multiple)), level)

  /** The same, kept when they are made. */
  def kept(level: StorageLevel): LazyProduct[K] = new LazyProduct(base, right, tag, isStored, known, Some(level))

  /** The rows as such, stored. Products are new blocks; of others the values may not last, or be stored already in another way. */
  def stored(context: SamsaraContext, level: StorageLevel): LazyProduct[K] = {
    val rows = if (right.isEmpty) evaluated(context).lasting else evaluated(context)
    new LazyProduct(context.store(rows, level), None, tag, isStored = true)
  }

  private var lastEvaluated: Option[Blocks[K]] = None

  /** The rows as such, the factor multiplied in. */
  def evaluated(context: SamsaraContext): Blocks[K] = lastEvaluated.getOrElse {
    val rows = known match {
      case Some((basis, t)) if basis.isWeak => basis.corrected.times(t).evaluated(context)
      case _ => right.fold(base)(r => Passes.timesRight(base, context.send(r.whole)))
    }
    for (l <- level) lastEvaluated = Some(context.store(rows, l))
    lastEvaluated.getOrElse(rows)
  }

  /** Gives back what is stored of these rows; what they are a product of stays. */
  def release(context: SamsaraContext): Unit = {
    lastEvaluated.foreach(context.release)
    lastEvaluated = None
    if (right.isEmpty) context.release(base)
  }

  private var knownBasis: Option[Basis[K]] = None

  /** An orthonormal basis of these m rows of n columns. */
  def basis(context: SamsaraContext, m: Long, n: Int): Basis[K] = {
    if (knownBasis.isEmpty)
      knownBasis = Some(new Basis(context, plain, m, right.getOrElse(DenseBlock.identity(n))))
    knownBasis.get
  }

  private def plain: LazyProduct[K] = new LazyProduct(base, None, tag, isStored)

  /**
   * The Gram matrix of m rows of n columns.
   *
   * @param forBasis
   *   whether an orthonormal basis of them will be asked for next. Of a product of stored rows its pass gives a Gram matrix
   *   as well, where what is rounding beside the longest column is zero
   */
  def gram(context: SamsaraContext, m: Long, n: Int, forBasis: Boolean): DenseBlock =
    if (forBasis && isStored && right.nonEmpty && known.isEmpty) basis(context, m, n).gram
    else if (isStored && right.isEmpty && known.isEmpty) base.gram(n)
    else Passes.gram(evaluated(context), n)

  /** A' times these rows, where A has n columns and the same rows, and these have w. */
  def crossed(context: SamsaraContext, a: LazyProduct[_], n: Int, w: Int): DenseBlock = known match {
    case Some((basis, t)) if basis.isOf(a) => Products.times(basis.cross, t)
    case Some((basis, _)) if basis.isWeak =>
      Passes.cross(a.evaluated(context), evaluated(context), n, w)
    case _ =>
      // A'(Y T) = (A'Y) T: the factor is multiplied in once, on the driver.
      val c = Passes.cross(a.evaluated(context), base, n, right.fold(w)(_.rowSize))
      right.fold(c)(Products.times(c, _))
  }
}

private[samsara] object LazyProduct {
  private val tags = new AtomicLong(1)
  def newTag(): Long = tags.getAndIncrement()
}
