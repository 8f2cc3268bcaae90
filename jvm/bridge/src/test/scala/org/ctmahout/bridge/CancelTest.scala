package org.ctmahout.bridge

import java.nio.file.{Files, Path => File_}
import java.util.concurrent.atomic.AtomicInteger

import org.apache.spark.scheduler.{SparkListener, SparkListenerJobStart}
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.Manifest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.{assertEquals, assertFalse, assertTrue}
import org.junit.jupiter.api.io.TempDir

class CancelTest {
  @TempDir var folder: File_ = _

  private val out = "factors"

  private def request: String = Json.newObject()
    .put("input", folder.resolve("matrix").toString)
    .put("output", folder.resolve(out).toString)
    .put("k", 10).put("q", 2) // fewer directions than half of the columns: a pass for each iteration, then U
    .set[com.fasterxml.jackson.databind.node.ObjectNode]("want", json("""["s", "v", "u"]"""))
    .toString

  /** Calls cancel when the run starts its job number `at`; the listener is told a little late, as Python would be. */
  private def cancelledAt(at: Int)(body: => Unit): Unit = {
    val jobs = new AtomicInteger
    val listener = new SparkListener {
      override def onJobStart(start: SparkListenerJobStart): Unit =
        if (start.properties.getProperty("spark.jobGroup.id", "").startsWith("ctmahout-") && jobs.incrementAndGet() == at)
          Bridge.cancel()
    }
    spark.sparkContext.addSparkListener(listener)
    try body
    finally spark.sparkContext.removeSparkListener(listener)
  }

  @Test def leavesNothingWhereverItComes(): Unit = {
    TestMatrix.write(folder.resolve("matrix"), Seq(graded(30000, 60)), files = 4)
    for ((limit, at) <- Seq(("64m", 1), ("64m", 2), ("0", 1), ("0", 2), ("0", 3), ("0", 4))) withGroupsUpTo(limit) {
      cancelledAt(at) {
        val e = refused("CTM_INTERRUPTED")(Bridge.run(request))
        assertEquals(130, e.exitCode)
      }
      assertEquals(Seq("matrix"), folder.toFile.list.toSeq.sorted, s"cancelled at job $at with groups up to $limit in tasks")
      assertEquals(0, spark.sparkContext.getPersistentRDDs.size)
    }
    // The same command again.
    Bridge.run(request)
    assertTrue(Files.exists(folder.resolve(out).resolve(Manifest.Name)))
  }

  @Test def isNoHarmWhenNothingRuns(): Unit = {
    Bridge.cancel()
    assertEquals(10L, spark.sparkContext.parallelize(1 to 10).count())
    assertFalse(Files.exists(folder.resolve(out)))
  }
}
