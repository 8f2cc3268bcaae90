package org.ctmahout.samsara

import scala.reflect.ClassTag

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.{DenseMatrix, DenseVector, Matrix}
import org.apache.mahout.math.decompositions._
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.function.DoubleFunction
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** Mahout's algebra on the engine, against the same sums written out. */
class AlgebraTest {
  import Local._

  private val a = gaussian(120, 7, seed = 1)
  private val n = 7

  private def withA[T](body: (ClusterContext, CheckpointedDrm[Long]) => T): T = withContext { context =>
    val rdd = blocks(a, parts = 3).cache()
    try body(context, context.drm(rdd, a.length.toLong, n))
    finally rdd.unpersist(blocking = true)
  }

  private def check(expected: Array[Array[Double]], actual: Matrix, tolerance: Double = 1e-12): Unit = {
    assertEquals(expected.length, actual.rowSize)
    assertEquals(expected.head.length, actual.columnSize)
    for (i <- expected.indices; j <- expected.head.indices)
      assertEquals(expected(i)(j), actual.getQuick(i, j), tolerance * (1 + math.abs(expected(i)(j))), s"($i, $j)")
  }

  private def product(x: Array[Array[Double]], y: Array[Array[Double]]): Array[Array[Double]] =
    x.map(row => y.transpose.map(column => row.indices.map(i => row(i) * column(i)).sum))

  private def inCore(x: Array[Array[Double]]): Matrix = new DenseMatrix(x)

  @Test def whatIsCollectedIsWhatWasGiven(): Unit = withA((_, drm) => check(a, drm.collect))

  @Test def gramMatrix(): Unit = withA((_, drm) => check(product(a.transpose, a), (drm.t %*% drm).collect, 1e-11))

  @Test def timesInCoreAndThenTransposedTimes(): Unit = withA { (_, drm) =>
    val w = gaussian(n, 3, seed = 2)
    val aw = drm %*% inCore(w)
    check(product(a, w), aw.collect)
    check(product(a.transpose, product(a, w)), (drm.t %*% aw).collect, 1e-11)
  }

  @Test def timesAMatrixThatIsOnTheDriver(): Unit = withA { (_, drm) =>
    val ata = (drm.t %*% drm).checkpoint()
    check(product(a, product(a.transpose, a)), (drm %*% ata).collect, 1e-10)
  }

  @Test def timesVectors(): Unit = withA { (_, drm) =>
    val (x, y) = (gaussian(1, n, 3).head, gaussian(1, a.length, 4).head)
    check(product(a, x.map(Array(_))), (drm %*% new DenseVector(x)).collect)
    check(product(a.transpose, y.map(Array(_))), (drm.t %*% new DenseVector(y)).collect, 1e-11)
  }

  @Test def functionsOfElements(): Unit = withA { (_, drm) =>
    check(a.map(_.map(x => 2 * x * x)), (drm * drm).collect.assign(new DoubleFunction { def apply(x: Double) = 2 * x }))
  }

  @Test def sumsOverColumns(): Unit = withA { (_, drm) =>
    val columns = a.transpose
    for (j <- 0 until n) {
      assertEquals(columns(j).sum, drm.colSums().getQuick(j), 1e-12)
      assertEquals(columns(j).sum / a.length, drm.colMeans().getQuick(j), 1e-13)
      assertEquals(a.length.toDouble, drm.numNonZeroElementsPerColumn().getQuick(j))
    }
    assertEquals(math.sqrt(a.flatten.map(x => x * x).sum), drm.norm(), 1e-12)
  }

  @Test def parallelizedRowsComeBack(): Unit = withContext { context =>
    implicit val here: DistributedContext = context
    for (parts <- Seq(1, 2, 7)) check(a, drmParallelizeWithRowIndices(inCore(a), parts).collect)
  }

  @Test def aBlockFunctionMayChangeItsBlockButNotTheMatrix(): Unit = withA { (_, drm) =>
    implicit val keys: ClassTag[Long] = ClassTag.Long
    val spoilt = drm.mapBlock() { case (k, block) =>
      block.assign(7.0)
      k -> block
    }
    check(a.map(_.map(_ => 7.0)), spoilt.collect)
    check(a, drm.collect)
  }

  @Test def theTriangularSolveThatIsRecognisedIsTheOneThatRuns(): Unit = withA { (context, drm) =>
    implicit val keys: ClassTag[Long] = ClassTag.Long
    val (q, r) = DQR.dqrThin(drm)
    val recognised = q.checkpoint().asInstanceOf[DistributedRows[Long]]
    assertTrue(recognised.rows.right.nonEmpty, "Q = Y T should not have been made")
    // The same closure inside another one is not recognised, and must give the same Q.
    val solve = q.asInstanceOf[org.apache.mahout.math.drm.logical.OpMapBlock[Long, Long]].bmf
    val hidden: BlockMapFunc[Long, Long] = block => solve(block)
    val generic = drm.mapBlock()(hidden).checkpoint().asInstanceOf[DistributedRows[Long]]
    assertTrue(generic.rows.right.isEmpty)
    val solved = recognised.collect
    check(Array.tabulate(a.length, n)(solved.getQuick(_, _)), generic.collect, 1e-11)
    check(a, solved.times(r), 1e-11)
    assertEquals(context.sparkContext, sc)
  }

  @Test def principalComponentsAreTheSvdOfTheCentredMatrix(): Unit = {
    val means = a.transpose.map(_.sum / a.length)
    val centred = a.map(row => row.indices.map(j => row(j) - means(j)).toArray)
    for (q <- Seq(0, 1, 2)) withA { (_, drm) =>
      implicit val keys: ClassTag[Long] = ClassTag.Long
      RandomUtils.seedNext(5)
      val shifted = drm.mapBlock() { case (k, block) =>
        block.assign(new DoubleFunction { def apply(x: Double) = x + 3 })
        k -> block
      }
      val (u, v, s) = DSPCA.dspca(shifted, n, 15, q, CacheHint.MEMORY_ONLY)
      val (um, vm) = (u.collect, v.collect)
      val rebuilt = Array.tabulate(a.length, n)((i, j) => (0 until n).map(l => um.getQuick(i, l) * s.getQuick(l) * vm.getQuick(j, l)).sum)
      check(centred, new DenseMatrix(rebuilt), 1e-9)
    }
  }

  @Test def whatTheCallerHasCachedStaysCached(): Unit = withContext { context =>
    val rdd = blocks(a, parts = 2).cache()
    rdd.count()
    val drm = context.drm(rdd, a.length.toLong, n)
    drm.uncache()
    assertTrue(sc.getPersistentRDDs.contains(rdd.id))
    rdd.unpersist(blocking = true)
  }
}
