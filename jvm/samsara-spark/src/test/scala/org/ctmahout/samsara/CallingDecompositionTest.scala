package org.ctmahout.samsara

import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.decompositions._
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.CallingDecomposition._
import org.ctmahout.samsara.incore.Cholesky
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

class CallingDecompositionTest {
  import Local._

  @Test def whatIsDeclaredHoldsForThisThreadAndEndsWithTheBody(): Unit = {
    assertEquals(NoDecomposition, now)
    within(Dssvd) {
      assertEquals(Dssvd, now)
      var elsewhere: CallingDecomposition = Dssvd
      val thread = new Thread(() => elsewhere = now)
      thread.start()
      thread.join()
      assertEquals(NoDecomposition, elsewhere)
      assertThrows(classOf[ArithmeticException], () => within(Other)(throw new ArithmeticException))
      assertEquals(Dssvd, now)
    }
    assertEquals(NoDecomposition, now)
  }

  /** A column that is there twice: Mahout's Cholesky decomposition refuses its Gram matrix as it is. */
  private val singular: Array[Array[Double]] = gaussian(60, 5, seed = 1).map(row => row :+ row.head)

  @Test def aProgramThatCallsMahoutItselfDeclaresNothingAndIsHelpedAllTheSame(): Unit = withContext { context =>
    val a = context.drm(blocks(singular, parts = 3), 60L, 6)
    assertFalse(Cholesky.isFineForMahout(new DenseBlock(6, 6, flat((a.t %*% a).collect))))
    val y = a %*% new DenseMatrix(gaussian(6, 6, seed = 2))
    val (q, r) = dqrThin(y)
    val (expected, actual) = (y.collect, (q %*% r).collect)
    for (i <- 0 until 60; j <- 0 until 6) assertEquals(expected.getQuick(i, j), actual.getQuick(i, j), 1e-6)
    val (_, _, s) = dssvd(a, k = 5, p = 0, q = 0)
    assertEquals(StochasticSvd(a, k = 5, p = 0, q = 0, seed = 0).s(0), s.getQuick(0), 1e-9)
  }

  @Test def whoDeclaresThatNoDecompositionAsksGetsTheBareGramMatrix(): Unit = withContext { context =>
    val a = context.drm(blocks(singular, parts = 3), 60L, 6)
    val bare = flat((a.t %*% a).collect)
    assertArrayEquals(bare, within(NoDecomposition)(flat((a.t %*% a).collect)))
    val small = drmParallelize(new DenseMatrix(singular), 1)(context).t.checkpoint().t.checkpoint()
    assertNotEquals(flat((small.t %*% small).collect).toSeq, within(Other)(flat((small.t %*% small).collect)).toSeq)
  }

  private def flat(m: Matrix): Array[Double] = Array.tabulate(m.rowSize * m.columnSize)(e => m.getQuick(e / m.columnSize, e % m.columnSize))
}
