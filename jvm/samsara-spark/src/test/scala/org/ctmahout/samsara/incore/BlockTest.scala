package org.ctmahout.samsara
package incore

import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

class BlockTest {

  private def refused(body: => Any): Unit = { assertThrows(classOf[IllegalArgumentException], () => { body; () }); () }

  /** Rows padded as the kernel wants them, but for the last. */
  @Test def anArrayMayEndWithItsLastRow(): Unit = for (n <- Seq(3, 7, 25); rows <- Seq(1, 5, 300)) {
    val stride = Gemm.instance.stride(n)
    val data = Array.tabulate((rows - 1) * stride + n)(e => if (e % stride < n) (e % 7).toDouble else Double.NaN)
    val block = new DenseBlock(rows, n, data, 0, stride)
    val compact = new DenseBlock(rows, n, block.toArray)
    val gram = new Products.Gram(n)
    gram.add(block)
    assertArrayEquals(Products.transposedTimes(compact, compact).toArray, gram.sum)
    assertArrayEquals(Products.transposedTimes(compact, compact).toArray, Products.transposedTimes(block, block).toArray)
    val left = new DenseBlock(2, rows, Array.fill(2 * rows)(1.0))
    assertArrayEquals(Products.times(left, compact).toArray, Products.times(left, block).toArray)
  }

  @Test def whatIsNotInTheArrayIsRefused(): Unit = {
    refused(new DenseBlock(2, 3, new Array[Double](5)))
    refused(new FloatBlock(2, 3, new Array[Float](5)))
    refused(new DenseBlock(2, 3, new Array[Double](9), 0, 2))
    refused(new DenseBlock(2, 3, new Array[Double](9), 3, 4))
    refused(new DenseBlock(2, 3, new Array[Double](9), -1, 3))
    refused(new DenseBlock(1 << 20, 1 << 20, new Array[Double](9)))
    assertEquals(0, new DenseBlock(0, 3, new Array[Double](0), 7, 3).rowSize)
    assertEquals(1.0, new DenseBlock(1, 2, Array(0.0, 0.0, 1.0), 1, 99).get(0, 1))
  }
}
