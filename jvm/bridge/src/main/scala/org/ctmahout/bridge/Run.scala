package org.ctmahout.bridge

import java.util.UUID
import java.util.concurrent.{CountDownLatch, TimeUnit}

import scala.util.control.NonFatal

import org.apache.spark.SparkContext

/** A request in progress: its job group, and whether it has been asked to stop. */
private[bridge] final class Run(sc: SparkContext) {
  private val group = s"ctmahout-${UUID.randomUUID}"
  private val ended = new CountDownLatch(1)
  @volatile private var stopping = false

  def isCancelled: Boolean = stopping

  /** Called between steps, since cancelling a job group does not stop a run that is between two jobs. */
  def checkCancelled(): Unit = if (stopping) throw Errors("CTM_INTERRUPTED")

  /** Cancels the jobs of this run, those to come included, without waiting for it. */
  def cancel(): Unit = if (!stopping) {
    stopping = true
    val thread = new Thread("ctmahout-cancel") {
      // Once is not enough: a decomposition is a series of jobs, and Spark 3.5 cannot cancel jobs in advance.
      override def run(): Unit =
        do cancelJobs()
        while (!ended.await(100, TimeUnit.MILLISECONDS))
    }
    thread.setDaemon(true)
    thread.start()
  }

  private def cancelJobs(): Unit =
    try sc.cancelJobGroup(group)
    catch { case NonFatal(_) => () } // the context is going down, and the run with it

  /** Runs under the job group, and restores the settings of the thread. */
  def within[T](body: => T): T = {
    val before = Run.Properties.map(key => key -> sc.getLocalProperty(key))
    // A container that is told to stop gets a moment to clean up after itself.
    val hook = new Thread("ctmahout-shutdown") {
      override def run(): Unit = {
        cancel()
        ended.await(10, TimeUnit.SECONDS)
        ()
      }
    }
    addHook(hook)
    sc.setJobGroup(group, "ctmahout", interruptOnCancel = true)
    try body
    finally {
      before.foreach { case (key, value) => sc.setLocalProperty(key, value) }
      ended.countDown()
      removeHook(hook)
    }
  }

  private def addHook(hook: Thread): Unit =
    try Runtime.getRuntime.addShutdownHook(hook)
    catch { case _: IllegalStateException => () } // already going down

  private def removeHook(hook: Thread): Unit =
    try {
      Runtime.getRuntime.removeShutdownHook(hook)
      ()
    } catch { case _: IllegalStateException => () }
}

private[bridge] object Run {
  private val Properties = Seq("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")
}
