package org.ctmahout.samsara
package blocks

import scala.reflect.ClassTag

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.incore.Products

/** The value of a plan, m x n. */
private[samsara] sealed trait Value[K] {
  def m: Long
  def n: Int
  def keys: ClassTag[K]
}

/** Rows on the cluster, none of them missing. */
private[samsara] final case class Far[K](rows: LazyProduct[K], m: Long, n: Int, keys: ClassTag[K]) extends Value[K]

/** A matrix on the driver, its keys the numbers of its rows, computed when it is needed. */
private[samsara] final class Near(val m: Long, val n: Int, compute: => DenseBlock) extends Value[Int] {
  lazy val matrix: DenseBlock = compute
  override def keys: ClassTag[Int] = ClassTag.Int
}

private[samsara] object Far {

  /** Blocks that are computed anew whenever they are read. */
  def computed[K](blocks: Blocks[K], tag: Long, m: Long, n: Int, keys: ClassTag[K]): Far[K] =
    Far(new LazyProduct(blocks, None, tag, isStored = false), m, n, keys)

  def computed[K](blocks: Blocks[K], m: Long, n: Int, keys: ClassTag[K]): Far[K] =
    computed(blocks, LazyProduct.newTag(), m, n, keys)
}

private[samsara] object Near {
  def apply(m: Long, n: Int)(compute: => DenseBlock): Near = new Near(m, n, compute)
  def apply(matrix: Matrix): Near = new Near(matrix.rowSize.toLong, matrix.columnSize, Products.dense(matrix))
}
