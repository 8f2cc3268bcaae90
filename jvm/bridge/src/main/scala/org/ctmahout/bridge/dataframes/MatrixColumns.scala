package org.ctmahout.bridge.dataframes

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.{Column, DataFrame}
import org.apache.spark.sql.types._
import org.ctmahout.bridge.{Errors, SparkInternals, SparkLine}
import org.ctmahout.bridge.SparkInternals.InternalRow
import org.ctmahout.bridge.exchange.Values

/** A column that names rows or matrices, at its place in the rows. */
private[dataframes] final case class NameColumn(field: StructField, ordinal: Int) {
  @transient private lazy val convert = SparkInternals.toScala(field.dataType)

  /** Of Scala's types, as in a Row; null for a null. */
  def of(row: InternalRow): AnyRef = convert(row.get(ordinal, field.dataType)).asInstanceOf[AnyRef]
}

/**
 * The columns of a DataFrame that a request names.
 *
 * @param values
 *   what reads the values of a row
 */
private[dataframes] final case class MatrixColumns(
    @transient selected: DataFrame, values: RowValues[_], id: Option[NameColumn], group: Option[NameColumn]) {
  def rows: RDD[InternalRow] = SparkLine.rows(selected)
}

private[dataframes] object MatrixColumns {

  /** @throws org.ctmahout.bridge.CtmahoutException a column is not there, there twice, or of a type that will not do */
  def of(frame: DataFrame, request: DataFrameRequest): MatrixColumns = {
    val isSame: (String, String) => Boolean =
      if (frame.sparkSession.conf.get("spark.sql.caseSensitive").toBoolean) _ == _ else _.equalsIgnoreCase(_)
    def field(name: String): StructField = frame.schema.fields.filter(f => isSame(f.name, name)) match {
      case Array(one) => one
      case several =>
        val count = if (several.isEmpty) "no column" else s"${several.length} columns"
        throw Errors("CTM_DATAFRAME_COLUMN", "count" -> count, "column" -> name, "columns" -> frame.columns.mkString(", "))
    }
    val fields = request.columns.map(field)
    if (fields.distinct.size < fields.size)
      throw Errors("CTM_REQUEST_INVALID", "problem" -> s"a column is named twice: ${request.columns.mkString(", ")}")
    val matrix = RowValues.of(frame, fields)
    val names = Seq(request.id, request.group).map(_.map(name => checkedName(field(name))))
    val selected = matrix.columns ++ names.flatten.map(column(frame, _))
    MatrixColumns(
      frame.select(selected: _*),
      matrix.values,
      names.head.map(NameColumn(_, matrix.columns.size)),
      names.last.map(NameColumn(_, selected.size - 1)))
  }

  private[dataframes] def column(frame: DataFrame, field: StructField): Column =
    frame.col("`" + field.name.replace("`", "``") + "`")

  /** Values of floating point name nothing: NaN is not even equal to itself. */
  private def checkedName(field: StructField): StructField = field.dataType match {
    case BooleanType | ByteType | ShortType | IntegerType | LongType | DateType | TimestampType | StringType => field
    case _: DecimalType => field
    case other =>
      throw Errors(
        "CTM_DATAFRAME_TYPE",
        "column" -> field.name,
        "given" -> other.simpleString,
        "expected" -> "whole numbers, text, dates or another type whose values can name something"
      )
  }
}

/** Reads the values of a row of the matrix. */
private[dataframes] sealed abstract class RowValues[T](val kind: Values[T]) extends Serializable {

  /** None if there is a null. */
  def of(row: InternalRow): Option[Array[T]]

  /** The row, if it is better kept as sparse. */
  def sparse(row: InternalRow): Option[SparseRow] = None

  /** The column to blame: of several the one at this place. */
  def column(place: Int): String

  /** Where the null of a row is. */
  def nullColumn(row: InternalRow): String
}

/** A row of `size` values, of which those that are not zero are in these columns, ascending. */
private[dataframes] final class SparseRow(val size: Int, val indices: Array[Int], val values: Array[Double])

private[dataframes] object RowValues {
  private val Expected = "array<double>, array<float>, a vector of spark.ml, or numbers"

  /** What reads the values of columns, and what to select for it. */
  final case class Selected(values: RowValues[_], columns: Seq[Column])

  def of(frame: DataFrame, fields: Seq[StructField]): Selected = {
    def wrong(field: StructField, expected: String) =
      throw Errors("CTM_DATAFRAME_TYPE", "column" -> field.name, "given" -> field.dataType.simpleString, "expected" -> expected)
    val columns = fields.map(MatrixColumns.column(frame, _))
    (fields.map(_.dataType), fields) match {
      case (Seq(ArrayType(FloatType, _)), Seq(field)) => Selected(new Arrays(field.name, Values.Floats), columns)
      case (Seq(ArrayType(_: NumericType, nulls)), Seq(field)) =>
        Selected(new Arrays(field.name, Values.Doubles), columns.map(_.cast(ArrayType(DoubleType, nulls))))
      case (Seq(udt: UserDefinedType[_]), Seq(field)) if isVector(udt) => Selected(new Vectors(field.name), columns)
      case (types, _) =>
        for ((field, other) <- fields.zip(types) if !other.isInstanceOf[NumericType])
          wrong(field, if (fields.size == 1) Expected else "numbers, as there are several columns")
        val names = fields.map(_.name).toArray
        if (types.forall(_ == FloatType)) Selected(new FloatColumns(names), columns)
        else Selected(new DoubleColumns(names), columns.map(_.cast(DoubleType)))
    }
  }

  /** Of spark.ml or of MLlib, whose classes this jar does without: by its form. */
  private def isVector(udt: UserDefinedType[_]): Boolean = udt.sqlType match {
    case form: StructType => form.fieldNames.sameElements(Array("type", "size", "indices", "values"))
    case _ => false
  }

  private sealed abstract class OneColumn[T](name: String, kind: Values[T]) extends RowValues(kind) {
    override def column(place: Int): String = s"$name[$place]"
    override def nullColumn(row: InternalRow): String = if (row.isNullAt(0)) name else column(nullPlace(row))
    protected def nullPlace(row: InternalRow): Int
  }

  private final class Arrays[T](name: String, kind: Values[T]) extends OneColumn(name, kind) {
    override def of(row: InternalRow): Option[Array[T]] =
      if (row.isNullAt(0)) None
      else {
        val array = row.getArray(0)
        // Where a null is, Spark's arrays have a zero.
        if (nullPlace(row) >= 0) None else Some(kind.of(array))
      }

    override protected def nullPlace(row: InternalRow): Int = {
      val array = row.getArray(0)
      val n = array.numElements()
      var j = 0
      while (j < n && !array.isNullAt(j)) j += 1
      if (j < n) j else -1
    }
  }

  private final class Vectors(name: String) extends OneColumn(name, Values.Doubles) {
    private val Sparse = 0

    // From a fifth of the values on dense products are as fast.
    override def sparse(row: InternalRow): Option[SparseRow] =
      if (row.isNullAt(0)) None
      else {
        val vector = row.getStruct(0, 4)
        if (vector.getByte(0) != Sparse || vector.getArray(3).numElements() * 5L > vector.getInt(1)) None
        else Some(new SparseRow(vector.getInt(1), vector.getArray(2).toIntArray(), vector.getArray(3).toDoubleArray()))
      }

    override def of(row: InternalRow): Option[Array[Double]] =
      if (row.isNullAt(0)) None
      else {
        val vector = row.getStruct(0, 4)
        val values = vector.getArray(3).toDoubleArray()
        if (vector.getByte(0) != Sparse) Some(values)
        else {
          val (all, indices) = (new Array[Double](vector.getInt(1)), vector.getArray(2))
          var j = 0
          while (j < values.length) { all(indices.getInt(j)) = values(j); j += 1 }
          Some(all)
        }
      }
    override protected def nullPlace(row: InternalRow): Int = 0 // vectors have no nulls in them
  }

  private sealed abstract class Columns[T](names: Array[String], kind: Values[T]) extends RowValues(kind) {
    protected val n: Int = names.length
    override def column(place: Int): String = names(place)
    override def nullColumn(row: InternalRow): String = names((0 until n).find(row.isNullAt).getOrElse(0))
    override def of(row: InternalRow): Option[Array[T]] = {
      val values = kind.newArray(n)
      var j = 0
      while (j < n && !row.isNullAt(j)) { set(values, j, row); j += 1 }
      if (j == n) Some(values) else None
    }
    protected def set(values: Array[T], j: Int, row: InternalRow): Unit
  }

  private final class DoubleColumns(names: Array[String]) extends Columns(names, Values.Doubles) {
    override protected def set(values: Array[Double], j: Int, row: InternalRow): Unit = values(j) = row.getDouble(j)
  }

  private final class FloatColumns(names: Array[String]) extends Columns(names, Values.Floats) {
    override protected def set(values: Array[Float], j: Int, row: InternalRow): Unit = values(j) = row.getFloat(j)
  }
}
