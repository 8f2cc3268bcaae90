package org.ctmahout.bridge.dataframes

import scala.collection.mutable

import org.ctmahout.bridge.{CtmahoutException, Errors}
import org.ctmahout.samsara.incore.Products

/**
 * What is in a partition.
 *
 * @param groups
 *   value, rows and |A|^2 of each group
 * @param width
 *   that of its rows, 0 if there are none
 * @param firstId
 *   of its first row
 * @param kernel
 *   what multiplies where it is
 */
private[dataframes] final case class Summary(
    groups: Seq[(AnyRef, Long, Double)], width: Int, firstId: Option[String], bad: Option[UnfitRow], kernel: String) {
  def rows: Long = groups.map(_._2).sum
}

/** A matrix of a DataFrame: a value of the group column, and its shape. */
private[dataframes] final case class Group(value: AnyRef, rows: Long, columns: Int, squaredNorm: Double)

private[dataframes] object Summary {
  def of(blocks: Iterator[BlockOrUnfitRow]): Summary = {
    val groups = mutable.LinkedHashMap.empty[AnyRef, (Long, Double)]
    var (width, firstId, bad) = (0, Option.empty[String], Option.empty[UnfitRow])
    blocks.foreach {
      case block: NamedBlock =>
        if (width == 0) firstId = Option(block.ids).map(_.head.toString)
        width = block.columns
        val (rows, norm) = groups.getOrElse(block.group, (0L, 0.0))
        groups(block.group) = (rows + block.rows, norm + block.squaredNorm)
      case row: UnfitRow => bad = Some(row)
    }
    Summary(groups.toSeq.map { case (g, (rows, norm)) => (g, rows, norm) }, width, firstId, bad, Products.blasName)
  }

  /**
   * The groups of all partitions, in the order of their values.
   *
   * @param columns
   *   the name of what holds the rows, for errors
   * @throws CtmahoutException
   *   there is a row that cannot be in a matrix, or none at all
   */
  def groups(all: Seq[Summary], columns: MatrixColumns, name: String): Seq[Group] = {
    val width = all.find(_.width > 0).fold(0)(_.width)
    def isWrong(s: Summary) = s.bad.nonEmpty || s.width > 0 && s.width != width
    val before = all.indexWhere(isWrong)
    if (before >= 0) throw refusal(all(before), all.take(before).map(_.rows).sum, width, columns, name)
    if (width == 0) throw Errors("CTM_DATAFRAME_EMPTY")
    val sums = mutable.HashMap.empty[AnyRef, (Long, Double)]
    for (summary <- all; (group, rows, norm) <- summary.groups) {
      val (r, s) = sums.getOrElse(group, (0L, 0.0))
      sums(group) = (r + rows, s + norm)
    }
    sums.toSeq.map { case (value, (rows, norm)) => Group(value, rows, width, norm) }.sortWith(isBefore)
  }

  private def isBefore(a: Group, b: Group): Boolean = a.value.asInstanceOf[Comparable[AnyRef]].compareTo(b.value) < 0

  private def refusal(s: Summary, before: Long, width: Int, columns: MatrixColumns, name: String): CtmahoutException = {
    def row(place: Long, id: Option[String]) = (columns.id, id) match {
      case (Some(column), Some(text)) => s"The row with ${column.field.name} $text"
      case _ => s"Row $place (the first is 0)"
    }
    val (place, id, code, fields) = s.bad match {
      // Of a partition of another width the first row is the first wrong one.
      case Some(bad) if s.width == 0 || s.width == width => (before + bad.place, bad.id, bad.code, bad.fields)
      case _ => (before, s.firstId, "CTM_DATAFRAME_WIDTH", Seq("given" -> s.width))
    }
    val expected = if (width > 0) Seq("expected" -> width) else Nil
    // The later of two fields of one name counts.
    Errors(code, (Seq("row" -> row(place, id), "column" -> name) ++ fields ++ expected): _*)
  }
}
