package org.ctmahout.samsara

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.EngineCallsTest.rows
import org.ctmahout.samsara.blocks.Basis
import org.ctmahout.samsara.incore.Products
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/** Limits of Spark's, made small instead of the data large. */
class LimitsTest {
  import Local._

  /** Forty partitions, each of which has for the driver what alone would be no trouble. */
  @Test def whatComesToTheDriverDoesNotGrowWithThePartitions(): Unit = {
    val a = gaussian(480, 160, 1)
    def drm(context: ClusterContext, a: Array[Array[Double]], keys: Int => Long = _.toLong, m: Long = 480) = {
      val rows = context.sparkContext.parallelize(
        a.indices.grouped(a.length / 40).map { some =>
          (some.map(keys).toArray, new DenseBlock(some.size, a.head.length, some.toArray.flatMap(a(_))): Matrix)
        }.toSeq,
        40
      )
      context.drm(rows, m, a.head.length, canHaveMissingRows = m > a.length)
    }
    def gram(context: ClusterContext) = { val x = drm(context, a); Products.dense((x.t %*% x).collect).toArray } // 200 KiB
    def sample(context: ClusterContext) = { // 38 KiB
      RandomUtils.seedNext(1)
      rows(drmSampleKRows(drm(context, a), 30, replacement = false)).flatten
    }
    def reduced(context: ClusterContext) = // 80 KiB
      Products.dense(drm(context, a).allreduceBlock({ case (_, b) => b.transpose().times(b).viewPart(0, 100, 0, 100) })).toArray
    val narrow = gaussian(80000, 1, 2)
    def sums(context: ClusterContext) = { // every second row, and none near another: 312 KiB of numbers
      val order = new scala.util.Random(3).shuffle((0 until narrow.length).toVector)
      (drm(context, narrow, i => 2L * order(i), m = 160000) + 1.0).colSums().get(0)
    }
    val (expected, expectedSums) = withContext(c => (Seq(gram(c), sample(c), reduced(c)), sums(c)))
    assertEquals(160000 + narrow.map(_.head).sum, expectedSums, 1e-6)
    withSpark("local[2]", "spark.driver.maxResultSize" -> "1m") { sc =>
      val context = new ClusterContext(sc)
      assertArrayEquals(expected(0), gram(context), "A'A, to the last bit")
      assertArrayEquals(expected(1), sample(context), "drmSampleKRows")
      assertArrayEquals(expected(2), reduced(context), "allreduceBlock")
      assertEquals(expectedSums, sums(context), 1e-9, "rows of zeros")
      val wide = context.drm(sc.parallelize(Seq((Array(0L), new DenseBlock(1, 400): Matrix)), 1), 1, 400) // a sum of 1.2 MiB
      val e = assertThrows(classOf[IllegalArgumentException], () => { (wide.t %*% wide).collect; () })
      for (word <- Seq("spark.driver.maxResultSize", "1 MiB", "fewer components")) assertTrue(e.getMessage.contains(word), e.getMessage)
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
    for (i <- 1 to 50) (drm %*% new DenseMatrix(Array(Array(1.0, i.toDouble), Array(2.0, 3.0), Array(i.toDouble, 1.0)))).collect
    var tries = 0
    while (context.broadcasts > 5 && tries < 50) { System.gc(); Thread.sleep(20); tries += 1 }
    assertTrue(context.broadcasts <= 5, s"${context.broadcasts} broadcasts of 50 are still held")
    assertEquals(20, (drm %*% new DenseMatrix(gaussian(3, 3, 2))).collect.rowSize)
  }

  /** A user of spark-shell keeps matrices and never closes the context. */
  @Test def whatIsStoredLastsAsLongAsItsMatrix(): Unit = withContext { context =>
    val drm = context.drm(blocks(gaussian(20, 3, 1), parts = 2), 20, 3)
    for (i <- 1 to 20) (drm + i.toDouble).checkpoint(CacheHint.MEMORY_ONLY).norm()
    def held = sc.getPersistentRDDs.size
    var tries = 0
    while (held > 5 && tries < 50) { System.gc(); Thread.sleep(20); tries += 1 }
    assertTrue(held <= 5, s"$held matrices of 20 are still stored")
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
    // `val B = A.mapBlock() { ... }`: the line that the function holds has the matrix, and that the function.
    for (named <- Seq(line.named, line.namedElementwise, line.namedTwice); (expected, found) <- a.zip(rows(named.collect)))
      assertArrayEquals(expected.map(_ * 15), found, 1e-12)
  }
}

object LimitsTest {

  /** As the shell wraps what is typed. */
  class Line(val context: ClusterContext, val A: CheckpointedDrm[Long]) extends Serializable {
    val f = 15.0
    val gram: CheckpointedDrm[Int] = (A.t %*% A).checkpoint()
    val sum: DrmLike[Long] = A + 1.0
    val named: DrmLike[Long] = A.mapBlock() { case (k, b) => k -> b.times(f) }
    val namedElementwise: DrmLike[Long] = A.apply((x: Double) => x * f)
    val namedTwice: DrmLike[Long] = A.apply((x: Double) => x * (f / 3)).apply((x: Double) => x * (f / 5))
    def multiplied: DrmLike[Long] = A.mapBlock() { case (k, b) => k -> b.times(f) }
    def elementwise: DrmLike[Long] = A.apply((x: Double) => x * f)
  }
}
