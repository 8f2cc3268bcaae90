package org.ctmahout.samsara

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.algorithms.clustering.{CanopyClustering, CanopyFn}
import org.apache.mahout.math.algorithms.common.distance.{Chebyshev, Cosine}
import org.apache.mahout.math.algorithms.preprocessing._
import org.apache.mahout.math.algorithms.regression._
import org.apache.mahout.math.algorithms.regression.tests._
import org.apache.mahout.math.decompositions._
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.scalabindings._
import org.apache.mahout.math.scalabindings.RLikeOps._
import org.ctmahout.samsara.blocks.Passes
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/** Mahout's own algorithms, which are written on its algebra, against textbooks or the same done in core. */
class AlgorithmsTest {
  import Local._
  private type Rows = Array[Array[Double]]

  private def rows(m: Matrix): Rows = Array.tabulate(m.rowSize, m.columnSize)(m.getQuick(_, _))
  private def near(expected: Rows, found: Matrix, tolerance: Double = 1e-9): Unit = {
    assertEquals(expected.length, found.rowSize)
    for (i <- expected.indices) assertArrayEquals(expected(i), rows(found)(i), tolerance, s"row $i")
  }
  private def withHere[T](body: DistributedContext => T): T = withContext(body(_))
  private def key(name: String): Symbol = Symbol(name)

  /** Breakfast cereals: what Mahout's own comments fit with R. */
  private val cereals = Array(
    Array(2, 2, 10.5, 10, 29.509541),
    Array(1, 2, 12, 12, 18.042851),
    Array(1, 1, 12, 13, 22.736446),
    Array(2, 1, 11, 13, 32.207582),
    Array(1, 2, 12, 11, 21.871292),
    Array(2, 1, 16, 8, 36.187559),
    Array(6, 2, 17, 1, 50.764999),
    Array(3, 2, 13, 7, 40.400208),
    Array(3, 3, 13, 4, 45.811716)
  )

  private def regression(parts: Int)(implicit here: DistributedContext): (DrmLike[Int], DrmLike[Int]) = {
    val all = drmParallelize(new DenseMatrix(cereals), parts)
    (all(::, 0 until 4), all(::, 4 until 5))
  }

  @Test def ordinaryLeastSquaresIsWhatRFits(): Unit = withHere { implicit here =>
    for (parts <- Seq(1, 3)) {
      val (x, y) = regression(parts)
      val model = new OrdinaryLeastSquares[Int]().fit(x, y)
      // lm(target ~ a + b + c + d) as R prints it: estimates, standard errors and t values, the intercept last here.
      val printed = Seq(
        (-1.336, 2.688, -0.497),
        (-13.158, 5.394, -2.439),
        (-4.153, 1.785, -2.327),
        (-5.680, 1.887, -3.010),
        (163.179, 51.915, 3.143))
      for (((estimate, error, t), i) <- printed.zipWithIndex) {
        assertEquals(estimate, model.beta.get(i), 5e-4)
        assertEquals(error, model.se.get(i), 5e-4)
        assertEquals(t, model.tScore.get(i), 5e-4)
      }
      assertArrayEquals(Array(0.6452, 0.0713, 0.0806, 0.0395, 0.0347), Array.tabulate(5)(model.pval.get), 5e-5)
      val beta = Array.tabulate(5)(model.beta.get)
      val residuals = cereals.map(r => r(4) - (beta(4) + (0 until 4).map(j => beta(j) * r(j)).sum))
      val (rss, mean) = (residuals.map(e => e * e).sum, cereals.map(_(4)).sum / 9)
      val tss = cereals.map(r => math.pow(r(4) - mean, 2)).sum
      assertEquals(1 - rss / tss, model.r2, 1e-9)
      assertEquals(rss / 9, model.mse, 1e-9)
      assertEquals((tss - rss) / 4 / (rss / 4), model.fScore, 1e-7)
      near(cereals.map(r => Array(beta(4) + (0 until 4).map(j => beta(j) * r(j)).sum)), model.predict(x).collect)
      AutocorrelationTests.DurbinWatson(model, y - model.predict(x))
      val steps = residuals.zip(residuals.tail).map { case (e, f) => (f - e) * (f - e) }.sum
      assertEquals(steps / rss, model.testResults(key("durbinWatsonTestStatistic")).asInstanceOf[Double], 1e-9)
    }
  }

  /** Cochrane and Orcutt 1949: rho from the residuals, then least squares on x(t) - rho x(t - 1), again and again. */
  @Test def cochraneOrcutt(): Unit = withHere { implicit here =>
    val noise = gaussian(60, 2, seed = 5)
    val errors = noise.map(_(0)).scanLeft(0.0)((e, u) => 0.7 * e + u).tail
    val (x, y) = (noise.map(r => Array(10 * r(1))), noise.zip(errors).map { case (r, e) => Array(3 + 20 * r(1) + e) })
    val model = new CochraneOrcutt[Int]().fit(drmParallelize(new DenseMatrix(x), 3), drmParallelize(new DenseMatrix(y), 2))

    def fit(x: Array[Double], y: Array[Double]): (Double, Double) = {
      val (mx, my) = (x.sum / x.length, y.sum / y.length)
      val slope = x.zip(y).map { case (a, b) => (a - mx) * (b - my) }.sum / x.map(a => (a - mx) * (a - mx)).sum
      (slope, my - slope * mx)
    }
    def lagged(v: Array[Double], rho: Double) = v.tail.zip(v).map { case (now, before) => now - rho * before }
    val (xs, ys) = (x.map(_(0)), y.map(_(0)))
    var (slope, intercept) = fit(xs, ys)
    for (round <- 0 until 2) {
      val e = xs.zip(ys).map { case (a, b) => b - slope * a - intercept }
      val rho = e.tail.zip(e).map { case (f, g) => f * g }.sum / e.init.map(f => f * f).sum
      assertEquals(rho, model.rhos(round), 1e-9)
      val (s, i) = fit(lagged(xs, rho), lagged(ys, rho))
      slope = s
      intercept = i / (1 - rho)
    }
    assertEquals(slope, model.beta.get(0), 1e-9)
    assertEquals(intercept, model.beta.get(1), 1e-9)
    assertEquals(2.0, slope, 0.1)
  }

  @Test def standardScalerAndMeanCenter(): Unit = withHere { implicit here =>
    val a = gaussian(40, 3, seed = 2).map(_.zipWithIndex.map { case (x, j) => x * (j + 1) + 5 * j })
    val columns = a.transpose
    val means = columns.map(_.sum / 40)
    val deviations = columns.zip(means).map { case (c, m) => math.sqrt(c.map(x => (x - m) * (x - m)).sum / 40) }
    val drm = drmParallelize(new DenseMatrix(a), 3)
    val scaler = new StandardScaler().fit(drm)
    val scaled = scaler.transform(drm)
    near(a.map(r => r.indices.map(j => (r(j) - means(j)) / deviations(j)).toArray), scaled.collect)
    near(a, scaler.invTransform(scaled).collect)
    val center = new MeanCenter().fit(drm)
    near(a.map(r => r.indices.map(j => r(j) - means(j)).toArray), center.transform(drm).collect)
    near(a, center.invTransform(center.transform(drm)).collect)
  }

  @Test def asFactorMakesAColumnOfEachLevel(): Unit = withHere { implicit here =>
    // Mahout looks for the highest level where it merges blocks: there must be two.
    val factors = Array(Array(3.0, 2, 1, 2), Array(0.0, 0, 0, 0), Array(1.0, 1, 1, 1))
    val drm = drmParallelize(new DenseMatrix(factors), 2)
    val model = new AsFactor().fit(drm)
    assertEquals(Seq(0.0, 3.0, 5.0, 6.0), Seq.tabulate(4)(model.factorMap.get))
    val found = rows(model.transform(drm(1 until 3, ::)).collect)
    assertEquals(Seq(0, 3, 5, 6), found(0).indices.filter(found(0)(_) == 1.0))
    assertEquals(Seq(1, 4, 6, 7), found(1).indices.filter(found(1)(_) == 1.0))
    // As docs/samsara.md says.
    quietly(assertThrows(classOf[Exception], () => { model.invTransform(model.transform(drm)).collect; () }))
  }

  @Test def canopiesOfOneBlockAreThoseInCore(): Unit = withHere { implicit here =>
    val points = Array(Array(1.0, 2, 3), Array(1.2, 2.2, 2.8), Array(10.0, 10, 2), Array(9.5, 10.2, 2.1), Array(1.0, -3, 4))
    for ((name, metric, t1, t2) <- Seq(("Cosine", Cosine, 0.5, 0.1), ("Chebyshev", Chebyshev, 4.0, 2.0))) {
      val drm = drmParallelize(new DenseMatrix(points))
      val model = new CanopyClustering().fit(drm, key("t1") -> t1, key("t2") -> t2, key("distanceMeasure") -> Symbol(name))
      val centers = CanopyFn.findCenters(new DenseMatrix(points.map(_.clone)), metric, t1, t2)
      near(rows(centers), model.canopyCenters)
      val clusters = points.map(p => Array((0 until centers.nrow).minBy(c => metric.distance(centers(c, ::), dvec(p))).toDouble))
      near(clusters, model.cluster(drm).collect)
      near(points, drm.collect) // findCenters wipes out its block: not that of the matrix
    }
  }

  @Test def squaredDistances(): Unit = withHere { implicit here =>
    val (x, y) = (gaussian(30, 4, seed = 3), gaussian(17, 4, seed = 4))
    def distances(p: Rows, q: Rows) = p.map(a => q.map(b => a.zip(b).map { case (s, t) => (s - t) * (s - t) }.sum))
    near(distances(x, y), dsqDist(drmParallelize(new DenseMatrix(x), 3), drmParallelize(new DenseMatrix(y), 2)).collect)
    near(distances(x, x), dsqDist(drmParallelize(new DenseMatrix(x), 3)).collect)
  }

  @Test def meansAndCovariances(): Unit = withHere { implicit here =>
    val a = gaussian(50, 3, seed = 6)
    val means = a.transpose.map(_.sum / 50)
    val covariance = Array.tabulate(3, 3)((i, j) => a.map(r => (r(i) - means(i)) * (r(j) - means(j))).sum / 50)
    val drm = drmParallelize(new DenseMatrix(a), 4)
    near(covariance, dcolMeanCovThin(drm)._2)
    near(covariance, dcolMeanCov(drm)._2.collect)
    near(a.map(_.map(math.exp)), dexp(drm).collect)
    near(a.map(_.map(math.abs)), dsqrt(drm * drm).collect)
    near(a.map(_.map(math.signum)), dsignum(drm).collect)
  }

  @Test def thinQr(): Unit = withHere { implicit here =>
    val a = gaussian(80, 6, seed = 7)
    val (q, r) = dqrThin(drmParallelize(new DenseMatrix(a), 3))
    near(Array.tabulate(6, 6)((i, j) => if (i == j) 1.0 else 0.0), (q.t %*% q).collect)
    near(a, q.collect.times(r))
    for (i <- 0 until 6; j <- 0 until i) assertEquals(0.0, r.get(i, j), 1e-12)
  }

  @Test def singularValuesOfALabelledMatrix(): Unit = withHere { implicit here =>
    val s = Array(9.0, 4.0, 2.0, 0.5)
    val m = new DenseMatrix(withSpectrum(60, 4, s, seed = 8))
    m.setRowLabelBindings(Passes.bindings((0 until 60).map(i => (s"r$i", i))))
    RandomUtils.seedNext(1)
    val (u, v, found) = dssvd(drmParallelizeWithRowLabels(m, 3), k = 4, p = 0, q = 1)
    assertArrayEquals(s, Array.tabulate(4)(found.get), 1e-9)
    near(rows(m), u.collect.times(new DenseMatrix(rows(v.collect).map(_.zip(s).map { case (x, y) => x * y })).transpose()))
  }

  @Test def alternatingLeastSquaresFindsALowRank(): Unit = withHere { implicit here =>
    val a = withSpectrum(50, 20, Array(10.0, 5.0), seed = 9)
    for (parts <- Seq(1, 4)) {
      val found = dals(drmParallelize(new DenseMatrix(a), parts), k = 2, lambda = 1e-9, maxIterations = 6, convergenceThreshold = 1e-3)
      near(a, (found.drmU %*% found.drmV.t).collect, 1e-4)
    }
  }
}
