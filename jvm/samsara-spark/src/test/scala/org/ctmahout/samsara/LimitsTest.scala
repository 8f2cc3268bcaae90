package org.ctmahout.samsara

import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.EngineCallsTest.rows
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** Limits of Spark's, made small instead of the data large. */
class LimitsTest {
  import Local._

  private def multiplied(a: Array[Array[Double]]) =
    a.transpose.map(x => a.transpose.map(y => x.zip(y).map { case (p, q) => p * q }.sum))

  @Test def sumsOfManyPartitionsComeToTheDriverAsOne(): Unit = {
    val a = Array.tabulate(72, 160)((i, j) => ((i * 7 + j * 3) % 13).toDouble)
    // 36 sums of 200 KiB; one of them may come at a time.
    withSpark("local[2]", "spark.driver.maxResultSize" -> "1m") { sc =>
      val context = new ClusterContext(sc)
      val drm = context.drm(sc.parallelize(a.indices.grouped(2).map { some =>
        (some.map(_.toLong).toArray, new DenseBlock(2, 160, some.toArray.flatMap(a(_))): Matrix)
      }.toSeq, 36), 72, 160)
      val found = rows((drm.t %*% drm).collect)
      for ((expected, row) <- multiplied(a).zip(found)) assertArrayEquals(expected, row)
    }
  }

  @Test def aMatrixOfTheDriversIsNotSentInTasks(): Unit =
    withSpark("local[2]", "spark.rpc.message.maxSize" -> "1") { sc =>
      implicit val context: DistributedContext = new ClusterContext(sc)
      val a = Array.tabulate(1200, 300)((i, j) => (i + j).toDouble) // 2.7 MiB
      val drm = drmParallelize(new DenseMatrix(a), 2)
      for ((expected, found) <- a.zip(rows((drm + 0.0).collect))) assertArrayEquals(expected, found)
    }

  @Test def whatIsSentForAProductLastsAsLongAsTheProduct(): Unit = withContext { context =>
    val drm = context.drm(blocks(gaussian(20, 3, 1), parts = 2), 20, 3)
    for (i <- 1 to 50) (drm %*% new DenseMatrix(Array(Array(1.0, i), Array(2.0, 3.0), Array(i, 1.0)))).collect
    var tries = 0
    while (context.broadcasts > 5 && tries < 50) { System.gc(); Thread.sleep(20); tries += 1 }
    assertTrue(context.broadcasts <= 5, s"${context.broadcasts} broadcasts of 50 are still held")
    assertEquals(20, (drm %*% new DenseMatrix(gaussian(3, 3, 2))).collect.rowSize)
  }

  @Test def whatNoArrayCanHoldIsRefused(): Unit = {
    Basis.requireRoom(32768, 485)
    val e = assertThrows(classOf[IllegalArgumentException], () => Basis.requireRoom(40000, 40000))
    assertTrue(e.getMessage.contains("fewer components"), e.getMessage)
  }

  /** What a line of spark-shell holds goes along with a function that it defines. */
  @Test def functionsMayUseWhatIsDefinedBesideAMatrix(): Unit = withContext { context =>
    val a = gaussian(12, 3, 1)
    val line = new LimitsTest.Line(context, context.drm(blocks(a, parts = 2), 12, 3))
    for ((expected, found) <- a.zip(rows(line.multiplied.collect))) assertArrayEquals(expected.map(_ * 15), found)
    for ((expected, found) <- a.zip(rows(line.elementwise.collect))) assertArrayEquals(expected.map(_ * 15), found)
  }
}

object LimitsTest {

  /** As the shell wraps what is typed. */
  class Line(val context: ClusterContext, val A: CheckpointedDrm[Long]) extends Serializable {
    val f = 15.0
    val gram: CheckpointedDrm[Int] = (A.t %*% A).checkpoint()
    val sum: DrmLike[Long] = A + 1.0
    def multiplied: DrmLike[Long] = A.mapBlock() { case (k, b) => k -> b.times(f) }
    def elementwise: DrmLike[Long] = A.apply((x: Double) => x * f)
  }
}
