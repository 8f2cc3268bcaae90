package org.ctmahout.bridge

import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.spark.sql.SparkSession

/** For spark-submit: the request on the command line or in a file, the answer on stdout, the outcome as exit code. */
object Main {

  /** What the one line of the answer begins with: Spark and its user's log settings write to stdout, too. */
  val Prefix = "CTMAHOUT_RESULT "

  private val Usage = "expected --request JSON, --request-file PATH or --version"

  def main(args: Array[String]): Unit = {
    val code = outcome(args)
    // Threads of Spark's clients may keep a JVM alive after its work is done, and cluster managers read this code.
    System.exit(code)
  }

  private[bridge] def outcome(args: Array[String]): Int =
    try {
      args match {
        case Array("--version") | Array("--jar-check") => println(Bridge.version())
        case Array("--request", json) =>
          Request.parse(json) // refused, if at all, before Spark takes its time to start
          answer(_ => json)
        case Array("--request-file", path) => answer(readText(_, path))
        case _ => throw Errors("CTM_REQUEST_INVALID", "problem" -> Usage)
      }
      0
    } catch {
      case e: Throwable =>
        val ours = Errors.from(e)
        System.err.println(ours.getMessage)
        ours.exitCode
    }

  private def answer(request: SparkSession => String): Unit = {
    val isOurs = SparkSession.getActiveSession.orElse(SparkSession.getDefaultSession).isEmpty
    val session = SparkSession.builder().appName("ctmahout").getOrCreate()
    try println(Prefix + Bridge.run(request(session)))
    finally
      try if (isOurs) session.stop()
      catch { case NonFatal(e) => System.err.println(s"Spark did not stop cleanly: ${Errors.detail(e)}") }
  }

  private def readText(session: SparkSession, file: String): String =
    try {
      val path = new Path(file)
      val in = path.getFileSystem(session.sparkContext.hadoopConfiguration).open(path)
      try scala.io.Source.fromInputStream(in, "UTF-8").mkString
      finally in.close()
    } catch {
      case e: java.io.IOException =>
        throw Errors.because(e, "CTM_REQUEST_INVALID", "problem" -> s"$file cannot be read (${Errors.detail(e)})")
    }
}
