package org.ctmahout.bridge

import com.fasterxml.jackson.core.{JsonParser, JsonProcessingException}
import com.fasterxml.jackson.databind.{DeserializationFeature, JsonNode, ObjectMapper}
import com.fasterxml.jackson.databind.node.ObjectNode

/** JSON by Jackson's Java API alone: json4s and jackson-module-scala differ between the Spark lines. */
private[bridge] object Json {
  val mapper: ObjectMapper = new ObjectMapper()
    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
    .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)

  def newObject(): ObjectNode = mapper.createObjectNode()

  /** The object in a text, or why there is none. */
  def parseObject(text: String): Either[String, ObjectNode] =
    try
      mapper.readTree(text) match {
        case o: ObjectNode => Right(o)
        case other => Left(s"it is not a JSON object but ${kindOf(other)}")
      }
    catch {
      // The original message quotes the document: a request may hold paths, the place of the fault is enough.
      case e: JsonProcessingException =>
        val place = Option(e.getLocation).fold("")(at => s" at line ${at.getLineNr}, column ${at.getColumnNr}")
        Left(s"it is not JSON$place (${e.getOriginalMessage.linesIterator.next()})")
    }

  def elements(node: JsonNode): Seq[JsonNode] = fromIterator(node.elements)

  def fieldNames(node: JsonNode): Seq[String] = fromIterator(node.fieldNames)

  // The converters of the Scala library changed their package between 2.12 and 2.13.
  private def fromIterator[T](it: java.util.Iterator[T]): Seq[T] = {
    val all = Seq.newBuilder[T]
    while (it.hasNext) all += it.next()
    all.result()
  }

  /** An integer, also one written as 3.0: JSON knows one kind of number, and Kubeflow turns 3 into 3.0. */
  def asLong(node: JsonNode): Option[Long] =
    if (!node.isNumber) None
    else if (node.isIntegralNumber) Some(node).filter(_.canConvertToLong).map(_.longValue)
    else Some(node.doubleValue).filter(x => x == math.rint(x) && math.abs(x) <= (1L << 53)).map(_.toLong)

  private def kindOf(node: JsonNode): String =
    if ((node eq null) || node.isMissingNode) "nothing"
    else node.getNodeType.toString.toLowerCase(java.util.Locale.ROOT)
}
