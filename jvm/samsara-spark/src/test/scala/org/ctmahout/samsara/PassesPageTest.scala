package org.ctmahout.samsara

import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.decompositions._
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** The tables of docs/passes.md, counted. */
class PassesPageTest {
  import Local._

  private val n = 40

  /** Expressions as the page has them. B is made from A, C came into being beside it, W is small. */
  private def expressions(a: CheckpointedDrm[Long], c: CheckpointedDrm[Long]): Map[String, () => (() => Any)] = {
    def counting(body: => Any) = () => () => body
    val b = a + 1.0
    val w: Matrix = new DenseMatrix(gaussian(n, 5, 3))
    Map(
      "A + 1.0" -> counting(a + 1.0),
      "(A.t %*% A).collect" -> counting((a.t %*% a).collect),
      "(A %*% W).norm()" -> counting((a %*% w).norm()),
      "(A.t %*% (A %*% W)).collect" -> counting((a.t %*% (a %*% w)).collect),
      "(A.t %*% B).collect" -> counting((a.t %*% b).collect),
      "(A.t %*% C).collect" -> counting((a.t %*% c).collect),
      "(A + C).norm()" -> counting((a + c).norm()),
      "A.colMeans()" -> counting(a.colMeans()),
      "drm2IntKeyed(A)" -> counting(drm2IntKeyed(a)),
      "dssvd(A, k = 4, p = 2, q = 0)" -> counting(dssvd(a, k = 4, p = 2, q = 0)),
      "dssvd(A, k = 4, p = 2, q = 2)" -> counting(dssvd(a, k = 4, p = 2, q = 2)),
      "dspca(A, k = 4, p = 2, q = 0)" -> counting(dspca(a, k = 4, p = 2, q = 0)),
      "StochasticSvd(A, k = 4, p = 2, q = 1, seed = 0)" -> counting(StochasticSvd(a, k = 4, p = 2, q = 1, seed = 0)),
      "StochasticSvd.centred(A, k = 4, p = 2, q = 0, seed = 0)" -> counting(StochasticSvd.centred(a, k = 4, p = 2, q = 0, seed = 0)),
      "StochasticSvd(A, k = 40, p = 0, q = 1, seed = 0)" -> counting(StochasticSvd(a, k = 40, p = 0, q = 1, seed = 0)),
      "ExactSvd(A, k = 4, seed = 0)" -> counting(ExactSvd(a, k = 4, seed = 0)),
      "svd.u.checkpoint().collect" -> { () =>
        val svd = StochasticSvd(a, k = 4, p = 2, q = 1, seed = 0)
        () => svd.u.checkpoint(CacheHint.NONE).collect
      }
    )
  }

  @Test def eachExpressionTakesThePassesThatThePageSays(): Unit = withContext { context =>
    val row = """\| `([^`]+)` \|.*\| (\d+) \| (\d+) \|""".r
    val page = find("docs/passes.md").linesIterator.collect { case row(expression, passes, shuffles) =>
      expression -> Jobs(passes.toInt, shuffles.toInt)
    }.toSeq
    val stored = Seq(blocks(gaussian(300, n, 1), parts = 3), blocks(gaussian(300, n, 2), parts = 2))
    stored.foreach(_.cache().count())
    try {
      // New matrices for each: what has been computed of one is not computed again.
      def code = expressions(context.drm(stored.head, 300L, n), context.drm(stored.last, 300L, n))
      assertEquals(code.keySet, page.map(_._1).toSet)
      val counted = page.map { case (expression, _) =>
        val prepared = code(expression)()
        expression -> jobsOf(prepared())
      }
      assertEquals(page.mkString("\n"), counted.mkString("\n"))
    } finally stored.foreach(_.unpersist(blocking = true))
  }
}
