package org.ctmahout.bridge

import com.fasterxml.jackson.databind.JsonNode
import com.fasterxml.jackson.databind.node.ObjectNode

/**
 * What to decompose and how, resolved from contract/v1/request.schema.json with its defaults.
 *
 * @param groups
 *   the groups asked for in ascending order, None for all of the directory
 * @param k
 *   singular values wanted, None for as many as there are columns
 * @param algorithm
 *   what decomposes; see [[Algorithm]]
 * @param p
 *   oversampling: columns of the random projection beyond k
 * @param q
 *   power iterations
 */
final case class Request(
    input: String,
    output: String,
    groups: Option[Seq[Int]],
    algorithm: Algorithm,
    k: Option[Long],
    p: Int,
    q: Int,
    seed: Long,
    wantU: Boolean,
    partitions: Option[Int],
    overwrite: Boolean) {

  /** What `auto` takes for a matrix of so many columns. */
  def choice(columns: Int): Choice = Choice.between(columns, k.fold(columns)(_.toInt), p, q)

  /** The part of the request that the numbers depend on, for the manifest. */
  def parameters: ObjectNode = {
    val json = Json.newObject().put("algorithm", algorithm.name)
    k.fold(json.putNull("k"))(json.put("k", _))
    json.put("p", p).put("q", q).put("seed", seed)
    val want = json.putArray("want").add("s").add("v")
    if (wantU) want.add("u")
    json
  }
}

object Request {
  private[bridge] val Keys =
    Seq("input", "output", "groups", "algorithm", "k", "p", "q", "seed", "want", "partitions", "overwrite")
  private val LargestSeed = (1L << 53) - 1

  def parse(text: String): Request = {
    if (text eq null) throw invalid("it is null")
    val json = Json.parseObject(text).fold(problem => throw invalid(problem), identity)
    Json.fieldNames(json).find(!Keys.contains(_)).foreach { key =>
      throw invalid(s"there is no key $key; the keys are ${Keys.mkString(", ")}")
    }
    Request(
      input = location(json, "input"),
      output = location(json, "output"),
      groups = groups(json),
      algorithm = algorithm(json),
      k = optional(json, "k").map(integer(_, "k", 1, Long.MaxValue)),
      p = field(json, "p").fold(15)(integer(_, "p", 0, Int.MaxValue).toInt),
      q = field(json, "q").fold(1)(integer(_, "q", 0, 20).toInt),
      seed = field(json, "seed").fold(0L)(integer(_, "seed", 0, LargestSeed)),
      wantU = wantsU(json),
      partitions = optional(json, "partitions").map(integer(_, "partitions", 1, 100000).toInt),
      overwrite = field(json, "overwrite").exists { node =>
        if (node.isBoolean) node.booleanValue else throw expected(node, "overwrite", "true or false")
      }
    )
  }

  private def invalid(problem: String) = Errors("CTM_REQUEST_INVALID", "problem" -> problem)

  private def expected(node: JsonNode, key: String, what: String) = invalid(s"$key is $node, expected $what")

  private def field(json: ObjectNode, key: String): Option[JsonNode] = Option(json.get(key))

  /** For the keys that may be null, which means the same as leaving them out. */
  private def optional(json: ObjectNode, key: String): Option[JsonNode] = field(json, key).filterNot(_.isNull)

  private def integer(node: JsonNode, key: String, least: Long, most: Long): Long =
    Json.asLong(node).filter(x => least <= x && x <= most).getOrElse {
      val range = if (most >= Int.MaxValue) s"an integer of at least $least" else s"an integer from $least to $most"
      throw expected(node, key, range)
    }

  private def location(json: ObjectNode, key: String): String = {
    val what = "an absolute path or a URI"
    val node = field(json, key).getOrElse(throw invalid(s"$key is missing, expected $what"))
    val text = if (node.isTextual) node.textValue else ""
    // A relative path would mean one place to Python and another to a driver in some other directory.
    if (text.matches("(?s)(/|[A-Za-z][A-Za-z0-9+.-]+:/).*")) text else throw expected(node, key, what)
  }

  private def groups(json: ObjectNode): Option[Seq[Int]] = field(json, "groups") match {
    case None => None
    case Some(node) if node.isTextual && node.textValue == "all" => None
    case Some(node) if node.isArray && !node.isEmpty =>
      val listed = Json.elements(node).map(integer(_, "a group", 0, Int.MaxValue).toInt)
      if (listed.distinct.size < listed.size) throw expected(node, "groups", "each group once")
      Some(listed.sorted)
    case Some(node) => throw expected(node, "groups", "\"all\" or a list of group numbers")
  }

  private def algorithm(json: ObjectNode): Algorithm = field(json, "algorithm").fold[Algorithm](Algorithm.Dssvd) { node =>
    Algorithm.all.find(_.name == node.asText).filter(_ => node.isTextual).getOrElse {
      throw expected(node, "algorithm", Algorithm.all.map(_.name).mkString("\"", "\" or \"", "\""))
    }
  }

  private def wantsU(json: ObjectNode): Boolean = field(json, "want").exists { node =>
    val parts = if (node.isArray) Json.elements(node).map(_.asText) else Nil
    val fine = parts.contains("s") && parts.forall(Set("s", "v", "u")) && parts.distinct.size == parts.size
    if (!fine) throw expected(node, "want", "[\"s\", \"v\"] or [\"s\", \"v\", \"u\"]")
    parts.contains("u")
  }
}
