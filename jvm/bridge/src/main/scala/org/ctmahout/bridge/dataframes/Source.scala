package org.ctmahout.bridge.dataframes

import java.lang.ref.WeakReference
import java.util.WeakHashMap
import java.util.concurrent.ConcurrentHashMap

import scala.collection.mutable

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.{DataFrame, Row, SQLContext, SparkSession}
import org.apache.spark.sql.sources.{BaseRelation, TableScan}
import org.apache.spark.sql.types.StructType
import org.ctmahout.bridge.{Errors, Request, Run, Runs}

/** What the data source does: decompose, keep the factors under a name, and give them back. */
private[dataframes] object Source {

  /**
   * A result of a session.
   *
   * @param factors
   *   None where only a DataFrame of the user's holds them
   */
  private final class Result(val factors: Option[Factors], kept: Seq[WeakReference[RDD[_]]]) {
    def this(factors: Factors) = this(Some(factors), factors.kept.map(new WeakReference[RDD[_]](_)))

    def released: Result = new Result(None, kept)

    def unpersist(): Unit = for (reference <- kept; rdd <- Option(reference.get)) rdd.unpersist()
  }

  // A session that is gone takes its results along; Spark's cleaner then removes what is kept of them.
  private val results = new WeakHashMap[SparkSession, mutable.Map[String, Result]]
  private val active = new ConcurrentHashMap[String, Run]

  /** Decomposes the DataFrame or, where the option `request` has one of contract/v1, the matrices of a directory. */
  def save(context: SQLContext, options: Map[String, String], frame: DataFrame): BaseRelation = inCode {
    val (session, name) = (context.sparkSession, nameIn(options))
    options.get("request") match {
      case Some(json) =>
        within(session, name)(Runs.answer(session, Request.parse(json), _))
        Ended(context)
      case None =>
        val request = DataFrameRequest.of(options)
        val factors = within(session, name)(run => new DataFrameSvd(frame, request, run).factors())
        of(session)(_.put(name, new Result(factors))).foreach(_.unpersist())
        factors.relation(context)
    }
  }

  /** Does something as a run that is cancelled by this name. */
  private def within[T](session: SparkSession, name: String)(body: Run => T): T = {
    val run = new Run(session.sparkContext)
    if (active.putIfAbsent(name, run) ne null) throw Errors("CTM_OUTPUT_BUSY", "path" -> name)
    try run.within(body(run))
    catch { case e: Throwable if run.isCancelled => throw Errors.because(e, "CTM_INTERRUPTED") }
    finally {
      active.remove(name)
      ()
    }
  }

  /** A part of a result, or, where the option `action` says so, nothing but an end to it. */
  def load(context: SQLContext, options: Map[String, String]): BaseRelation = inCode {
    val (session, name) = (context.sparkSession, nameIn(options))
    def found = of(session)(_.get(name)).flatMap(_.factors).getOrElse(throw Errors("CTM_DATAFRAME_RESULT", "name" -> name))
    options.get("action") match {
      case Some("cancel") =>
        Option(active.get(name)).foreach(_.cancel())
        Ended(context)
      case Some("unpersist") =>
        of(session)(_.remove(name)).foreach(_.unpersist())
        Ended(context)
      case Some("release") =>
        of(session)(mine => mine.get(name).foreach(result => mine.put(name, result.released)))
        Ended(context)
      case Some(other) => throw invalid(s"action is $other, expected cancel, unpersist or release")
      case None =>
        options.getOrElse("part", "factors") match {
          case "factors" => found.relation(context)
          case "u" => found.uRelation(context).getOrElse(throw invalid(s"result $name has no U, since u was not true"))
          case other => throw invalid(s"part is $other, expected factors or u")
        }
    }
  }

  private def nameIn(options: Map[String, String]): String =
    options.get("path").filter(_.nonEmpty).getOrElse(throw invalid("a result needs a name, as in save(\"name\")"))

  private def of[T](session: SparkSession)(body: mutable.Map[String, Result] => T): T = results.synchronized {
    var mine = results.get(session)
    if (mine eq null) {
      mine = mutable.HashMap.empty
      results.put(session, mine)
    }
    body(mine)
  }

  private def inCode[T](body: => T): T =
    try body
    catch { case e: Throwable => throw Errors.from(e) }

  private def invalid(problem: String) = Errors("CTM_REQUEST_INVALID", "problem" -> problem)

  private final case class Ended(override val sqlContext: SQLContext) extends BaseRelation with TableScan {
    override def schema: StructType = new StructType()
    override def buildScan(): RDD[Row] = sqlContext.sparkContext.emptyRDD[Row]
  }
}
