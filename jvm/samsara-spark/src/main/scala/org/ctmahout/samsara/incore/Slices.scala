package org.ctmahout.samsara
package incore

import org.apache.mahout.math.Matrix

/** Some rows or columns of a block, and blocks put together. */
private[samsara] object Slices {

  /** Some rows, in this order. */
  def rows(m: DenseBlock, which: Array[Int]): DenseBlock = {
    val n = m.columnSize
    val some = new DenseBlock(which.length, n)
    for (i <- which.indices) System.arraycopy(m.data, m.offset + which(i) * m.stride, some.data, i * n, n)
    some
  }

  /** So many columns, from one on. */
  def columns(block: Matrix, from: Int, count: Int): DenseBlock =
    Products.dense(Products.block(block).viewPart(0, block.rowSize, from, count))

  /** The columns of P, then those of Q, which has as many rows. */
  def beside(p: DenseBlock, q: DenseBlock): DenseBlock = {
    val (n, w) = (p.columnSize, q.columnSize)
    val both = new DenseBlock(p.rowSize, n + w)
    p.copyRows(0, p.rowSize, both.data, n + w)
    for (i <- 0 until q.rowSize; j <- 0 until w) both.setQuick(i, n + j, q.getQuick(i, j))
    both
  }

  /** The rows of P, then those of Q, which has as many columns. */
  def over(p: DenseBlock, q: DenseBlock): DenseBlock =
    new DenseBlock(p.rowSize + q.rowSize, p.columnSize, p.toArray ++ q.toArray)
}
