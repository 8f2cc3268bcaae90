package org.ctmahout.bridge
package exchange

/** Why a group is refused, as plain values that travel from a task. */
private[bridge] final case class Refusal(group: Int, code: String, fields: Seq[(String, Any)]) {
  def error: CtmahoutException = Errors(code, fields: _*)
}

/** The checks of contract/v1 that need all rows of a group. */
private[bridge] object GroupCheck {

  /**
   * @param check
   *   of all rows of the group that there are
   * @param diagnosis
   *   which of them is there twice or not at all
   */
  def refusal(path: String, group: MatrixGroup, check: RowCheck)(diagnosis: => RowDiagnosis.Finding): Option[Refusal] = {
    // The first fields of each of these errors say where it is.
    def refused(code: String, fields: (String, Any)*) =
      Some(Refusal(group.group, code, Seq("path" -> path, "group" -> group.group) ++ fields))
    def ofRows = check.bad match {
      case Some(BadRow(row, BadRow.Width, width)) =>
        refused("CTM_EXCHANGE_WIDTH", "row" -> row, "given" -> width, "expected" -> group.columns)
      case Some(BadRow(row, BadRow.NotFinite, _)) => refused("CTM_EXCHANGE_NOT_FINITE", "row" -> row)
      case Some(BadRow(row, _, _)) => refused("CTM_EXCHANGE_ROW_RANGE", "row" -> row, "last" -> (group.rows - 1))
      case None => None
    }
    // Two sums show that each row is there once; only if they do not agree is it worth finding out which is not.
    def ofNumbers =
      if (eachRowOnce(group, check)) None
      else
        diagnosis match {
          case RowDiagnosis.Duplicate(row) => refused("CTM_EXCHANGE_ROW_DUPLICATE", "row" -> row)
          case RowDiagnosis.Missing(row, count) =>
            refused("CTM_EXCHANGE_ROW_MISSING", "row" -> row, "given" -> count, "expected" -> group.rows)
        }
    def ofValues = {
      val found = Checksum.hex(check.checksum)
      if (found == group.checksum) None
      else refused("CTM_EXCHANGE_CHECKSUM", "given" -> found, "expected" -> group.checksum)
    }
    ofRows.orElse(ofNumbers).orElse(ofValues)
  }

  /** A group of which there is no row at all. */
  def empty(path: String, group: MatrixGroup): Option[Refusal] =
    refusal(path, group, RowCheck.sum(Iterator.empty))(RowDiagnosis.Missing(0, 0))

  /** Whether these are all rows of the group, and right. */
  def isWhole(group: MatrixGroup, check: RowCheck): Boolean =
    check.bad.isEmpty && eachRowOnce(group, check) && Checksum.hex(check.checksum) == group.checksum

  private def eachRowOnce(group: MatrixGroup, check: RowCheck) =
    check.count == group.rows && check.rowNumbers == Checksum.ofRowNumbers(group.rows)
}
