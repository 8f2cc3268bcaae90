package org.ctmahout.bridge

import java.util.concurrent.{CountDownLatch, TimeUnit}

import org.ctmahout.bridge.Testing._
import org.junit.jupiter.api.Assertions.{assertEquals, assertFalse, assertThrows, assertTrue}
import org.junit.jupiter.api.Test

class SideBySideTest {
  private def sc = spark.sparkContext

  @org.junit.jupiter.api.BeforeEach
  def session(): Unit = assertFalse(spark.sparkContext.isStopped)

  /** Each waits for another one to have begun: one after the other they would wait for ever. */
  @Test def someRunAtATimeAndResultsAreInOrder(): Unit = {
    val begun = new CountDownLatch(3)
    val squares = SideBySide.map(sc, 0 until 9, 3) { i =>
      begun.countDown()
      assertTrue(begun.await(60, TimeUnit.SECONDS))
      i * i
    }
    assertEquals((0 until 9).map(i => i * i), squares)
    assertEquals(Seq(1, 2), SideBySide.map(sc, Seq(0, 1), 1)(_ + 1))
    assertEquals(Nil, SideBySide.map(sc, Seq.empty[Int], 3)(_ + 1))
  }

  @Test def threadsHaveTheCallersJobGroup(): Unit = {
    sc.setJobGroup("mine", "a test")
    try assertEquals(Seq.fill(4)("mine"), SideBySide.map(sc, 0 until 4, 2)(_ => sc.getLocalProperty("spark.jobGroup.id")))
    finally sc.clearJobGroup()
  }

  /** Items 1 and 2 fail, 2 before 1; 3 would never end, and 4 is never begun. */
  @Test def theFirstFailureInOrderIsHeardAndNothingRunsAfterwards(): Unit = {
    val (second, third) = (new CountDownLatch(1), new CountDownLatch(1))
    @volatile var last = -1
    val e = assertThrows(
      classOf[IllegalStateException],
      () => {
        SideBySide.map(sc, 0 until 100, 4) { i =>
          last = math.max(last, i)
          i match {
            case 0 => ()
            case 1 =>
              second.await()
              throw new IllegalStateException("1")
            case 2 =>
              third.await()
              second.countDown()
              throw new IllegalStateException("2")
            case _ =>
              third.countDown()
              // Far more than a test may take, in jobs of which each is short.
              for (_ <- 1 to 100000) sc.parallelize(1 to 2, 2).foreach(_ => Thread.sleep(50))
          }
        }
        ()
      }
    )
    assertEquals("1", e.getMessage)
    assertTrue(last <= 6, s"$last was begun")
    // Spark tells of its jobs a moment later.
    val running = Iterator.continually { Thread.sleep(20); sc.statusTracker.getActiveJobIds().length }.take(500)
    assertTrue(running.contains(0))
  }
}
