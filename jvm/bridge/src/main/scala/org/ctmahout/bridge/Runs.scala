package org.ctmahout.bridge

import java.util.concurrent.ConcurrentHashMap

import org.apache.spark.sql.SparkSession
import org.ctmahout.bridge.exchange.ReadingSession

/** Runs requests on the session there is, and turns failures into errors of the catalogue: the implementation of [[Bridge]]. */
private[bridge] object Runs {
  private val active = ConcurrentHashMap.newKeySet[Run]()

  def run(requestJson: String): String =
    try {
      val request = Request.parse(requestJson)
      val user = currentSession()
      val run = new Run(user.sparkContext)
      active.add(run)
      try run.within(answer(user, request, run))
      catch { case e: Throwable if run.isCancelled => throw Errors.because(e, "CTM_INTERRUPTED") }
      finally {
        active.remove(run)
        ()
      }
    } catch { case e: Throwable => throw Errors.from(e) }

  /** Answers a request in a session of the user's, which stays as it is. */
  def answer(user: SparkSession, request: Request, run: Run): String =
    ReadingSession.beside(user)(session => new Job(session, request, run).answer())

  def cancelAll(): Unit = active.forEach(run => run.cancel())

  /** The user's session, never one beside it; without one, a new session by the spark.* system properties. */
  private def currentSession(): SparkSession =
    SparkSession.getActiveSession
      .orElse(SparkSession.getDefaultSession)
      .filterNot(_.sparkContext.isStopped)
      .getOrElse(SparkSession.builder().appName("ctmahout").getOrCreate())
}
