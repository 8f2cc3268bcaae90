package org.ctmahout.bridge.dataframes

import org.ctmahout.bridge.{Errors, Json, Request}

/**
 * What to decompose of a DataFrame, and how: the options of the data source.
 *
 * @param columns
 *   one column of vectors or arrays, or several of numbers
 * @param id
 *   the column that names rows
 * @param group
 *   the column whose values name matrices
 * @param svd
 *   the parameters of the decomposition, as those of a directory; of its places it has none
 */
private[dataframes] final case class DataFrameRequest(
    columns: Seq[String], id: Option[String], group: Option[String], svd: Request)

private[dataframes] object DataFrameRequest {
  private val Parameters = Seq("algorithm", "k", "p", "q", "seed")
  private val Keys = Seq("path", "columns", "id", "group", "u") ++ Parameters

  def of(options: Map[String, String]): DataFrameRequest = {
    val named = options.map { case (key, value) => key.toLowerCase(java.util.Locale.ROOT) -> value }
    named.keys.find(!Keys.contains(_)).foreach { key =>
      throw invalid(s"there is no option $key; the options are ${Keys.tail.mkString(", ")}")
    }
    val id = named.get("id")
    val wantsU = named.get("u").exists {
      case "true" => true
      case "false" => false
      case other => throw invalid(s"u is $other, expected true or false")
    }
    if (wantsU && id.isEmpty) throw invalid("u is true without an id, expected the column that names the rows of U")
    DataFrameRequest(named.get("columns").fold(Seq("features"))(names), id, named.get("group"), parameters(named, wantsU))
  }

  /** Checked by the same rules as a request for a directory. */
  private def parameters(named: Map[String, String], wantsU: Boolean): Request = {
    val json = Json.newObject().put("input", "dataframe:/").put("output", "dataframe:/")
    for (key <- Parameters; text <- named.get(key))
      scala.util.Try(text.toLong).fold(_ => json.put(key, text), json.put(key, _))
    val want = json.putArray("want").add("s").add("v")
    if (wantsU) want.add("u")
    Request.parse(json.toString)
  }

  /** Names may contain any character, so they come as JSON. */
  private def names(text: String): Seq[String] = {
    def malformed = invalid("columns is " + text + ", expected a list of names such as [\"features\"]")
    val list = scala.util.Try(Json.mapper.readTree(text)).getOrElse(throw malformed)
    if ((list eq null) || !list.isArray || list.isEmpty) throw malformed
    Json.elements(list).map(name => if (name.isTextual) name.textValue else throw malformed)
  }

  private def invalid(problem: String) = Errors("CTM_REQUEST_INVALID", "problem" -> problem)
}
