package org.ctmahout.samsara
package io

/**
 * A row of a matrix as a line of text: its key, a tab, and `column:value` for each value that is not zero, with blanks between;
 * columns are counted from 0, and the last is always there, so that the width is known. Keys are written as Scala and Java
 * write them: `12` is an Int, `12L` a Long, `"left lung"` a String. Values come back to the last bit.
 *
 * {{{
 * 7	0:1.5 3:-2.0 8:0.0
 * "left lung"	8:1.0E-300
 * }}}
 */
private[samsara] object RowText {
  def apply(key: Any, values: Array[Double]): String = {
    val line = new java.lang.StringBuilder(literal(key)).append('\t')
    for (j <- values.indices if j == values.length - 1 || java.lang.Double.doubleToRawLongBits(values(j)) != 0L) {
      if (line.charAt(line.length - 1) != '\t') line.append(' ')
      line.append(j).append(':').append(values(j))
    }
    line.toString
  }

  /** @throws IllegalArgumentException this is no row */
  def parsed(line: String): (Any, Array[Double]) =
    try {
      val tab = line.indexOf('\t')
      val pairs = line.substring(tab + 1).split(' ').filter(_.nonEmpty).map { pair =>
        val colon = pair.indexOf(':')
        (pair.substring(0, colon).toInt, pair.substring(colon + 1).toDouble)
      }
      val values = new Array[Double](if (pairs.isEmpty) 0 else pairs.map(_._1).max + 1)
      for ((j, x) <- pairs) values(j) = x
      (key(line.substring(0, tab)), values)
    } catch {
      case e: IndexOutOfBoundsException => refuse(line, e)
      case e: NumberFormatException => refuse(line, e)
    }

  private def refuse(line: String, cause: Exception): Nothing =
    throw new IllegalArgumentException(s"no key, tab, and column:value pairs: ${line.take(80)}", cause)

  private val Escapes = Seq('\\' -> '\\', '"' -> '"', '\t' -> 't', '\n' -> 'n', '\r' -> 'r')

  private def literal(key: Any): String = key match {
    case n: Int => n.toString
    case n: Long => s"${n}L"
    case label: String =>
      label.flatMap(c => Escapes.find(_._1 == c).fold(c.toString)(e => s"\\${e._2}")).mkString("\"", "", "\"")
    case other => SparkEngine.unsupported(s"a key of ${other.getClass} as text")
  }

  private def key(literal: String): Any =
    if (literal.length > 1 && literal.startsWith("\"") && literal.endsWith("\"")) unescaped(literal.drop(1).dropRight(1))
    else if (literal.endsWith("L")) literal.dropRight(1).toLong
    else literal.toInt

  private def unescaped(label: String): String = {
    val (out, in) = (new java.lang.StringBuilder, label.iterator)
    while (in.hasNext) {
      val c = in.next()
      if (c != '\\') out.append(c)
      else {
        val code = if (in.hasNext) in.next() else throw new NumberFormatException(label)
        out.append(Escapes.find(_._2 == code).getOrElse(throw new NumberFormatException(label))._1)
      }
    }
    out.toString
  }
}
