package ctmahout.ml

import org.apache.spark.ml.param._
import org.apache.spark.ml.param.shared.{HasInputCol, HasOutputCol, HasSeed}
import org.apache.spark.sql.types._
import org.apache.spark.ml.attribute.AttributeGroup
import org.apache.spark.ml.linalg.SQLDataTypes.VectorType
import org.ctmahout.bridge.Errors

/** The parameters of estimators and models. Their values are checked where a decomposition checks its request. */
private[ml] trait StochasticParams extends Params with HasInputCol with HasOutputCol with HasSeed {

  /** Components; all, min(m, n), if not set. */
  final val k: IntParam = new IntParam(this, "k", "components; all, if not set")

  /** Oversampling: the random projection has k + p columns. */
  final val p: IntParam = new IntParam(this, "p", "oversampling: the random projection has k + p columns, at most as many as the input")

  /** Power iterations. */
  final val q: IntParam = new IntParam(this, "q", "power iterations")

  setDefault(inputCol -> "features", p -> 15, q -> 1, seed -> 0L)

  final def getK: Int = $(k)
  final def getP: Int = $(p)
  final def getQ: Int = $(q)

  /**
   * The schema with the output column behind it.
   *
   * @throws org.ctmahout.bridge.CtmahoutException
   *   CTM_DATAFRAME_COLUMN: no input column, or an output column that is there already; CTM_DATAFRAME_TYPE
   */
  protected def appended(schema: StructType, size: Option[Int]): StructType = {
    def refuse(count: String, column: String) =
      throw Errors("CTM_DATAFRAME_COLUMN", "count" -> count, "column" -> column, "columns" -> schema.fieldNames.mkString(", "))
    if (!schema.fieldNames.contains($(inputCol))) refuse("no column", $(inputCol))
    if (schema.fieldNames.contains($(outputCol))) refuse("already a column", $(outputCol))
    schema($(inputCol)).dataType match {
      case VectorType | ArrayType(_: NumericType, _) =>
      case other =>
        throw Errors(
          "CTM_DATAFRAME_TYPE",
          "column" -> $(inputCol),
          "given" -> other.simpleString,
          "expected" -> "a vector of spark.ml, or an array of numbers")
    }
    val field = size.fold(StructField($(outputCol), VectorType))(new AttributeGroup($(outputCol), _).toStructField())
    StructType(schema.fields :+ field)
  }
}
