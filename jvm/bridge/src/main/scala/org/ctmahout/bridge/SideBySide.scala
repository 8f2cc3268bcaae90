package org.ctmahout.bridge

import java.util.concurrent.atomic.AtomicInteger

import scala.util.{Failure, Success, Try}

import org.apache.spark.SparkContext

/** What takes a row of Spark jobs each, several at a time: what one does on the driver leaves the cores to the others. */
private[bridge] object SideBySide {

  /**
   * What `body` makes of each item, in order. Threads begin with the next item when they are done with one; they inherit the job
   * group of the caller. Of several items that fail the first in order is heard; those behind it are not begun, or
   * cancelled and waited for: nothing runs any more when this returns or throws.
   *
   * @param width
   *   items at a time
   */
  def map[A, B](sc: SparkContext, items: Seq[A], width: Int)(body: A => B): Seq[B] =
    if (width <= 1 || items.size <= 1) items.map(body)
    else new SideBySide(sc, items.toIndexedSeq, math.min(width, items.size), body).results()
}

private final class SideBySide[A, B](sc: SparkContext, items: IndexedSeq[A], width: Int, body: A => B) {
  private val next = new AtomicInteger
  private val outcomes = new java.util.concurrent.atomic.AtomicReferenceArray[Try[B]](items.size)
  // The first item that has failed; none behind it is wanted.
  private val failed = new AtomicInteger(items.size)
  private val tag = s"ctmahout-${java.util.UUID.randomUUID}"

  private def tagOf(item: Int) = s"$tag-$item"

  def results(): Seq[B] = {
    val threads = Seq.fill(width)(new Thread("ctmahout-group") {
      override def run(): Unit = work()
    })
    threads.foreach(_.setDaemon(true))
    threads.foreach(_.start())
    try threads.foreach(waitFor)
    catch {
      case e: InterruptedException =>
        failed.set(-1)
        threads.foreach(waitUninterrupted)
        throw e
    }
    items.indices.map(i => outcomes.get(i)).takeWhile(_ ne null).map(_.get)
  }

  private def work(): Unit =
    Iterator.continually(next.getAndIncrement()).takeWhile(_ < math.min(items.size, failed.get)).foreach { item =>
      sc.addJobTag(tagOf(item))
      // Throwables of every kind: an error of memory is heard as it would be without threads.
      val outcome =
        try Success(body(items(item)))
        catch { case e: Throwable => Failure(e) }
        finally sc.removeJobTag(tagOf(item))
      outcomes.set(item, outcome)
      if (outcome.isFailure) failed.accumulateAndGet(item, (a, b) => math.min(a, b))
    }

  /** Once is not enough: an item is a row of jobs, and those to come are not known yet. */
  private def waitFor(thread: Thread): Unit =
    while (thread.isAlive) {
      thread.join(100)
      for (item <- math.max(0, failed.get + 1) until math.min(next.get, items.size) if outcomes.get(item) eq null)
        sc.cancelJobsWithTag(tagOf(item))
    }

  private def waitUninterrupted(thread: Thread): Unit =
    while (thread.isAlive)
      try waitFor(thread)
      catch { case _: InterruptedException => () }
}
