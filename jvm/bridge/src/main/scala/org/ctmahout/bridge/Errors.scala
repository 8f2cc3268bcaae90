package org.ctmahout.bridge

import java.io.{FileNotFoundException, IOException}
import java.net.UnknownHostException

import scala.annotation.tailrec
import scala.util.matching.Regex

import com.fasterxml.jackson.databind.JsonNode
import org.apache.hadoop.fs.UnsupportedFileSystemException

/** An error of the catalogue. Its message is `[CTM_...] text`, because as text is all that reaches another process. */
final class CtmahoutException(val code: String, message: String, cause: Throwable)
    extends RuntimeException(message, cause) {

  def exitCode: Int = Errors.exitCode(code)
}

/** The catalogue of contract/v1/errors.json, shared with Python: one text for each code in both languages. */
object Errors {
  private val Resource = "/org/ctmahout/contract/errors.json"

  private lazy val catalogue: JsonNode = {
    val in = getClass.getResourceAsStream(Resource)
    require(in ne null, s"$Resource is not in the ctmahout jar")
    try Json.mapper.readTree(in)
    finally in.close()
  }

  private def entry(code: String): JsonNode = {
    val entry = catalogue.get(code)
    require(entry ne null, s"$code is not in the error catalogue")
    entry
  }

  def exitCode(code: String): Int = entry(code).get("exit").intValue

  def apply(code: String, fields: (String, Any)*): CtmahoutException = because(null, code, fields: _*)

  def because(cause: Throwable, code: String, fields: (String, Any)*): CtmahoutException = {
    val known = fields.toMap
    // A field that the raiser did not know stays visible as its name, as in Python.
    val text = Field.replaceAllIn(
      entry(code).get("message").textValue,
      m => Regex.quoteReplacement(known.get(m.group(1)).fold(m.matched)(value => oneLine(String.valueOf(value)))))
    new CtmahoutException(code, s"[$code] $text", cause)
  }

  /** Whatever was thrown, as an error of the catalogue. */
  def from(thrown: Throwable): CtmahoutException = {
    val causes = chain(thrown)
    causes
      .collectFirst {
        case ours: CtmahoutException => if (ours eq thrown) ours else again(ours.code, ours.getMessage, thrown)
      }
      // An executor's exception may arrive as text only, when the driver could not rebuild it.
      .orElse(causes.flatMap(tagged(_)).headOption.map { case (code, text) => again(code, text, thrown) })
      .orElse(causes.find(isMemory).map(e => because(thrown, "CTM_ENGINE_MEMORY", "detail" -> detail(e))))
      .orElse(causes.find(isInterruption).map(_ => because(thrown, "CTM_INTERRUPTED")))
      .getOrElse(because(thrown, "CTM_ENGINE_FAILED", "engine" -> "spark", "detail" -> detail(causes.last)))
  }

  /** For failures while the input is read, which are no error of ours: the input vanished or cannot be decoded. */
  def fromReading(thrown: Throwable, path: String): CtmahoutException = {
    val general = from(thrown)
    if (general.code != "CTM_ENGINE_FAILED") general
    else {
      val causes = chain(thrown)
      if (causes.exists(_.isInstanceOf[FileNotFoundException])) because(thrown, "CTM_INPUT_NOT_FOUND", "path" -> path)
      else if (causes.exists(unreadable))
        because(thrown, readingCode(thrown), "path" -> path, "problem" -> detail(causes.last))
      else general
    }
  }

  /** Exceptions that Parquet, its decompressors or a file system throw over bytes that are not what they should be. */
  private def unreadable(e: Throwable): Boolean =
    e.isInstanceOf[java.io.IOException] || e.getClass.getName.startsWith("org.apache.parquet.") ||
      says(e, "is not a Parquet file") || says(e, "FAILED_READ_FILE")

  /** The code of a file that cannot be read: for the bytes in it, or because a store would not give them. */
  def readingCode(thrown: Throwable): String =
    if (chain(thrown).exists(refusedByStore)) "CTM_STORAGE_READ" else "CTM_EXCHANGE_CORRUPT"

  /** What a file system throws over requests: no such bucket, no right to, no answer. */
  private def refusedByStore(e: Throwable): Boolean =
    e.isInstanceOf[java.nio.file.AccessDeniedException] || e.isInstanceOf[UnknownHostException] ||
      (e.isInstanceOf[IOException] && e.getClass.getName.startsWith("org.apache.hadoop.fs.s3a."))

  /** Whether it says that there is no class for the scheme of a URI. */
  def lacksFileSystem(e: Throwable): Boolean =
    chain(e).exists(c => c.isInstanceOf[UnsupportedFileSystemException] || c.isInstanceOf[ClassNotFoundException])

  /** The exception and its causes, outermost first. */
  def chain(thrown: Throwable): Seq[Throwable] = {
    @tailrec def go(e: Throwable, seen: List[Throwable]): List[Throwable] =
      if ((e eq null) || seen.contains(e)) seen else go(e.getCause, e :: seen)
    go(thrown, Nil).reverse
  }

  /** Class and message of an exception, as a part of a sentence. */
  def detail(e: Throwable): String = {
    val message = Option(e.getMessage).map(oneLine).filter(_.nonEmpty)
    (e.getClass.getSimpleName +: message.toSeq).mkString(": ").stripSuffix(".")
  }

  /** The root of a failure, as a part of a sentence. */
  def rootDetail(thrown: Throwable): String = detail(chain(thrown).last)

  private val Field = """\{(\w+)\}""".r
  private val Tagged = """\[(CTM_[A-Z_]+)\] ([^\r\n]*)""".r.unanchored
  // Cancelled by someone; a context that went down under the job is a failure, not a wish.
  private val Longest = 600

  private def tagged(e: Throwable): Option[(String, String)] = Option(e.getMessage).collect {
    case Tagged(code, text) if catalogue.has(code) => (code, s"[$code] ${text.trim}")
  }

  private def isMemory(e: Throwable): Boolean = e.isInstanceOf[OutOfMemoryError] || says(e, "OutOfMemoryError")

  private def isInterruption(e: Throwable): Boolean =
    e.isInstanceOf[InterruptedException] || Option(e.getMessage).exists(SparkInternals.Cancelled.findFirstIn(_).isDefined)

  private def says(e: Throwable, text: String): Boolean = Option(e.getMessage).exists(_.contains(text))

  private def again(code: String, message: String, cause: Throwable) = new CtmahoutException(code, message, cause)

  /** The contract wants the message on one line; Spark's own run over dozens, with the executor's stack. */
  private def oneLine(text: String): String = {
    val line = text.replaceAll("\\s*[\\r\\n]+\\s*", " ").trim
    if (line.length <= Longest) line else line.take(Longest) + "..."
  }
}
