package org.ctmahout.bridge
package exchange

import org.apache.hadoop.conf.Configuration
import org.apache.spark.sql.SparkSession

/**
 * A session beside the user's: same context, executors and cluster, but SQL settings of its own.
 *
 * Settings of SQL decide how Parquet is split and decoded. Changing them on the user's session, even for a moment,
 * would change queries that run there at the same time; and the user's own may be anything.
 */
private[bridge] object ReadingSession {

  def beside[T](user: SparkSession)(body: SparkSession => T): T = {
    val session = user.newSession()
    // Credentials and endpoints of object stores are often set on the session, as plain Hadoop keys.
    def isNotSparks(key: String) = !key.startsWith("spark.") || key.startsWith("spark.ctmahout.")
    user.conf.getAll.foreach { case (key, value) => if (isNotSparks(key)) session.conf.set(key, value) }
    Settings.foreach { case (key, value) => session.conf.set(key, value) }
    active(session)(body(session))
  }

  private val Settings = Map(
    "spark.sql.ansi.enabled" -> "true",
    "spark.sql.caseSensitive" -> "true",
    "spark.sql.parquet.enableVectorizedReader" -> "true",
    "spark.sql.parquet.enableNestedColumnVectorizedReader" -> "true",
    // Spark's default of 4,096 rows is 24 MB of a matrix of 800 columns; the values of a batch should fit a cache.
    "spark.sql.parquet.columnarReaderBatchSize" -> "512"
  )

  /** The context's Hadoop settings with those of the session. */
  def hadoop(session: SparkSession): Configuration = {
    val conf = new Configuration(session.sparkContext.hadoopConfiguration)
    session.conf.getAll.foreach { case (key, value) => if (!key.startsWith("spark.")) conf.set(key, value) }
    conf
  }

  /** Parts of Spark look up the settings of the thread's active session. */
  private def active[T](session: SparkSession)(body: => T): T = {
    val before = SparkSession.getActiveSession
    SparkSession.setActiveSession(session)
    try body
    finally before.fold(SparkSession.clearActiveSession())(s => SparkSession.setActiveSession(s))
  }
}
