package org.ctmahout.samsara

import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.ctmahout.samsara.EngineCallsTest.rows
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** What block functions may do with keys: the same answers whether a matrix is on the driver or on the cluster. */
class KeysTest {
  import Local._

  private val a = Array(Array(1.0, 2.0, 3.0), Array(4.0, 5.0, 6.0), Array(7.0, 8.0, 10.0))
  private val gram = a.transpose.map(x => a.transpose.map(y => x.zip(y).map { case (p, q) => p * q }.sum))

  /** With room on the driver for all, and for nothing. */
  private def wherever(body: CheckpointedDrm[Int] => Unit): Unit = for (entries <- Seq(1L << 26, 1L)) {
    implicit val context: ClusterContext = new ClusterContext(sc, driverEntries = entries)
    try body(drmParallelize(new DenseMatrix(a), 2))
    finally context.close()
  }
  private def check(expected: Array[Array[Double]], found: Matrix): Unit =
    assertEquals(expected.toSeq.map(_.toSeq), rows(found).toSeq.map(_.toSeq))

  @Test def aBlockFunctionMayTurnRowsRound(): Unit = wherever { drm =>
    val turned = (drm.t %*% drm).mapBlock() { case (keys, block) => keys.map(2 - _) -> block }
    check(gram.reverse, turned.collect)
    check(gram.reverse.transpose, turned.t.collect)
    check(gram.reverse.map(_.map(_ + 1)), (turned + 1.0).collect)
    check(gram.reverse.zip(gram).map { case (x, y) => x.zip(y).map { case (p, q) => p + q } }, (turned + drm.t %*% drm).collect)
  }

  @Test def aBlockFunctionMayGiveLongs(): Unit = wherever { drm =>
    val longs = drm.t.mapBlock() { case (keys, block) => keys.map(k => (k + 1L) % 3) -> block }.checkpoint()
    assertEquals(scala.reflect.ClassTag.Long, longs.keyClassTag)
    check(Array(2, 0, 1).map(i => a.transpose.apply(i)), longs.collect)
  }

  @Test def aBlockFunctionMayGiveLabels(): Unit = wherever { drm =>
    val labelled = drm.t.mapBlock() { case (keys, block) => keys.map(k => s"c$k") -> block }.checkpoint()
    assertEquals(classOf[String], labelled.keyClassTag.runtimeClass)
    val found = labelled.collect
    for (j <- 0 until 3) assertArrayEquals(a.transpose.apply(j), rows(found).apply(found.getRowLabelBindings.get(s"c$j")))
    assertThrows(classOf[UnsupportedOperationException], () => { labelled.t.collect; () })
  }

  /** The aggregating transpose: how Mahout's book does k-means. */
  @Test def rowsOfOneNumberAreAddedByATranspose(): Unit = wherever { drm =>
    val clusters = drm.mapBlock() { case (keys, block) => keys.map(_ / 2) -> block } // 0, 0, 1
    val sums = Array(Array(5.0, 7.0, 9.0), a(2), Array(0.0, 0.0, 0.0))
    check(sums.transpose, clusters.t.collect)
    check(sums, clusters.t.checkpoint().t.collect)
  }

  @Test def rowsOfOneNumberAreRefusedByProducts(): Unit = quietly(wherever { drm =>
    val twice = drm.mapBlock() { case (keys, block) => keys.map(_ / 2) -> block }
    for (product <- Seq(drm %*% twice, drm %*% twice.t)) {
      val e = assertThrows(classOf[Exception], () => { product.collect; () })
      assertTrue(e.getMessage.contains("two rows have the key 0"), e.getMessage)
    }
  })

  @Test def aFactorWithLabelsMustNotCompile(): Unit = wherever { drm =>
    val labelled = drm.mapBlock() { case (keys, block) => keys.map(k => s"r$k") -> block }
    for (product <- Seq(drm %*% labelled, drm %*% labelled.t))
      assertThrows(classOf[RuntimeException], () => { product.collect; () })
    val e = assertThrows(classOf[IllegalArgumentException], () => { (drm %*% labelled).collect; () })
    assertTrue(e.getMessage.contains("no numbers"), e.getMessage)
  }
}
