package org.ctmahout.bridge
package exchange

import java.security.MessageDigest

import com.fasterxml.jackson.databind.JsonNode
import com.fasterxml.jackson.databind.node.ObjectNode
import org.apache.hadoop.fs.{FileSystem, Path}

/** Reads `_ctmahout.json`: the first of the checks of contract/v1, in its order. */
private[bridge] object Manifest {
  val Name = "_ctmahout.json"
  val Version = "1.1"
  private val WithoutFiles = "1.0"
  private val PartName = """((s|v|u|arrays/(?!\.)[^/]+)/)?part-[^/]+\.parquet""".r
  private val Major = Version.takeWhile(_ != '.')

  def readMatrix(fs: FileSystem, path: Path): MatrixManifest = {
    if (!fs.exists(path)) throw Errors("CTM_INPUT_NOT_FOUND", "path" -> shown(path))
    val file = new Path(path, Name)
    if (!fs.exists(file)) throw Errors("CTM_EXCHANGE_NOT_COMMITTED", "path" -> shown(path))
    val bytes = readAll(fs, file)
    parseMatrix(path, bytes)
  }

  private[bridge] def parseMatrix(path: Path, bytes: Array[Byte]): MatrixManifest = {
    def wrong(problem: String) = Errors("CTM_EXCHANGE_MANIFEST", "path" -> shown(path), "problem" -> problem)
    val json = Json.parseObject(new String(bytes, "UTF-8")).fold(problem => throw wrong(problem), identity)
    checkKind(path, json, wrong)
    checkVersion(path, json, wrong)
    try {
      val form = new Form(json)
      form.text(json, "writer.name")
      form.text(json, "writer.version")
      val dtype = form.oneOf("dtype", Dtype.all)(_.name)
      val groups = form.list("groups").map { g =>
        MatrixGroup(
          form.integer(g, "group", 0, Int.MaxValue).toInt,
          form.integer(g, "rows", 1, Long.MaxValue),
          form.integer(g, "columns", 1, Int.MaxValue).toInt,
          form.checksum(g, "checksum")
        )
      }
      if (groups.map(_.group).distinct.size < groups.size) throw new Malformed("a group is listed twice")
      if (groups.map(_.columns).distinct.size > 1) throw new Malformed("its groups differ in columns")
      MatrixManifest(path, dtype, groups.sortBy(_.group), files(json, form), sha256(bytes))
    } catch { case m: Malformed => throw wrong(m.getMessage) }
  }

  private def files(json: ObjectNode, form: Form): Option[Seq[String]] =
    if (!json.has("files") && json.get("exchange_version").textValue == WithoutFiles) None
    else {
      val names = form.texts("files")
      names.find(name => !PartName.pattern.matcher(name).matches).foreach { name =>
        throw new Malformed(s"files has $name, which is no name of a part file")
      }
      if (names.distinct.size < names.size) throw new Malformed("a file is listed twice")
      Some(names.sorted)
    }

  private def checkKind(path: Path, json: ObjectNode, wrong: String => CtmahoutException): Unit =
    Option(json.get("kind")).filter(_.isTextual).map(_.textValue) match {
      case Some("matrix") =>
      case Some(kind) =>
        val found = if (kind == "factors") kind else s"a $kind"
        throw Errors("CTM_EXCHANGE_KIND", "path" -> shown(path), "given" -> found, "expected" -> "a matrix")
      case None => throw wrong("kind is missing or no text")
    }

  private def checkVersion(path: Path, json: ObjectNode, wrong: String => CtmahoutException): Unit = {
    val version = Option(json.get("exchange_version")).filter(_.isTextual).map(_.textValue).getOrElse("")
    if (!version.matches("[0-9]+\\.[0-9]+")) throw wrong("exchange_version is missing or not of the form 1.0")
    if (version.takeWhile(_ != '.') != Major)
      throw Errors("CTM_EXCHANGE_VERSION", "path" -> shown(path), "given" -> version, "expected" -> Version)
  }

  private final class Malformed(problem: String) extends RuntimeException(problem)

  /** The checks of manifest.schema.json, by hand: a JSON Schema library would be the only other thing in the jar. */
  private final class Form(json: ObjectNode) {
    private def at(node: JsonNode, key: String): JsonNode =
      key.split('.').foldLeft(node) { (n, k) =>
        val next = n.get(k)
        if (next eq null) throw new Malformed(s"$k is missing") else next
      }

    def text(node: JsonNode, key: String): String = {
      val value = at(node, key)
      if (value.isTextual) value.textValue else throw new Malformed(s"$key is $value, expected a text")
    }

    def oneOf[T](key: String, values: Seq[T])(name: T => String): T = {
      val found = text(json, key)
      def expected = values.map(name).mkString(" or ")
      values.find(name(_) == found).getOrElse(throw new Malformed(s"$key is $found, expected $expected"))
    }

    def integer(node: JsonNode, key: String, least: Long, most: Long): Long = {
      val value = at(node, key)
      def malformed = new Malformed(s"$key is $value, expected an integer of at least $least")
      Json.asLong(value).filter(x => least <= x && x <= most).getOrElse(throw malformed)
    }

    def checksum(node: JsonNode, key: String): String = {
      val value = text(node, key)
      if (value.matches("[0-9a-f]{16}")) value
      else throw new Malformed(s"$key is $value, expected 16 hexadecimal digits")
    }

    def texts(key: String): Seq[String] = {
      val value = at(json, key)
      if (!value.isArray || !Json.elements(value).forall(_.isTextual)) throw new Malformed(s"$key is not a list of texts")
      Json.elements(value).map(_.textValue)
    }

    def list(key: String): Seq[JsonNode] = {
      val value = at(json, key)
      if (!value.isArray || value.isEmpty) throw new Malformed(s"$key is not a list of at least one")
      val items = Json.elements(value)
      items.find(!_.isObject).foreach(item => throw new Malformed(s"$key holds $item, expected objects"))
      items
    }
  }

  /** A path as the user would write it: without the scheme where it is the local disk. */
  def shown(path: Path): String = if (path.toUri.getScheme == "file") path.toUri.getPath else path.toString

  private def readAll(fs: FileSystem, file: Path): Array[Byte] = {
    val bytes = new Array[Byte](Math.toIntExact(fs.getFileStatus(file).getLen))
    val in = fs.open(file)
    try in.readFully(0, bytes)
    finally in.close()
    bytes
  }

  private def sha256(bytes: Array[Byte]): String =
    MessageDigest.getInstance("SHA-256").digest(bytes).map(b => f"${b & 0xff}%02x").mkString
}
