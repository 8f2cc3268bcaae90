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
  private def expressions(context: ClusterContext): Map[String, () => Any] = {
    def stored(seed: Int, parts: Int) = {
      val rdd = blocks(gaussian(300, n, seed), parts).cache()
      rdd.count()
      context.drm(rdd, 300L, n)
    }
    val (a, c) = (stored(1, 3), stored(2, 2))
    val b = a + 1.0
    val w: Matrix = new DenseMatrix(gaussian(n, 5, 3))
    def s(svd: (DrmLike[Long], DrmLike[Int], Any)) = svd
    lazy val ofU = StochasticSvd(a, k = 4, p = 2, q = 1, seed = 0)
    Map(
      "A + 1.0" -> (() => a + 1.0),
      "(A.t %*% A).collect" -> (() => (a.t %*% a).collect),
      "(A %*% W).norm()" -> (() => (a %*% w).norm()),
      "(A.t %*% (A %*% W)).collect" -> (() => (a.t %*% (a %*% w)).collect),
      "(A.t %*% B).collect" -> (() => (a.t %*% b).collect),
      "(A.t %*% C).collect" -> (() => (a.t %*% c).collect),
      "(A + C).norm()" -> (() => (a + c).norm()),
      "A.colMeans()" -> (() => a.colMeans()),
      "drm2IntKeyed(A)" -> (() => drm2IntKeyed(a)),
      "dssvd(A, k = 4, p = 2, q = 0)" -> (() => s(dssvd(a, k = 4, p = 2, q = 0))),
      "dssvd(A, k = 4, p = 2, q = 2)" -> (() => s(dssvd(a, k = 4, p = 2, q = 2))),
      "dspca(A, k = 4, p = 2, q = 0)" -> (() => dspca(a, k = 4, p = 2, q = 0)),
      "StochasticSvd(A, k = 4, p = 2, q = 1, seed = 0)" -> (() => StochasticSvd(a, k = 4, p = 2, q = 1, seed = 0)),
      "StochasticSvd.centred(A, k = 4, p = 2, q = 0, seed = 0)" -> (() => StochasticSvd.centred(a, k = 4, p = 2, q = 0, seed = 0)),
      "StochasticSvd(A, k = 40, p = 0, q = 1, seed = 0)" -> (() => StochasticSvd(a, k = 40, p = 0, q = 1, seed = 0)),
      "ExactSvd(A, k = 4, seed = 0)" -> (() => ExactSvd(a, k = 4, seed = 0)),
      "svd.u.checkpoint().collect" -> {
        ofU
        () => ofU.u.checkpoint(CacheHint.NONE).collect
      })
  }

  @Test def eachExpressionTakesThePassesThatThePageSays(): Unit = withContext { context =>
    val row = """\| `([^`]+)` \|.*\| (\d+) \| (\d+) \|""".r
    val page = find("docs/passes.md").linesIterator.collect { case row(expression, passes, shuffles) => expression -> Jobs(passes.toInt, shuffles.toInt) }.toSeq
    val code = expressions(context)
    assertEquals(code.keySet, page.map(_._1).toSet)
    val counted = page.map { case (expression, _) => expression -> jobsOf(code(expression)()) }
    assertEquals(page.mkString("\n"), counted.mkString("\n"))
    sc.getPersistentRDDs.values.foreach(_.unpersist())
  }
}
