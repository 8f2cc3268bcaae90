package org.ctmahout.bridge
package exchange

import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName
import org.apache.spark.sql.types.{DataType, DoubleType, FloatType}

/** Element type of a matrix, and of its U. */
private[bridge] sealed abstract class Dtype(
    val name: String,
    val bytes: Int,
    val parquet: PrimitiveTypeName,
    val sql: DataType)
    extends Serializable

private[bridge] object Dtype {
  case object Float32 extends Dtype("float32", 4, PrimitiveTypeName.FLOAT, FloatType)
  case object Float64 extends Dtype("float64", 8, PrimitiveTypeName.DOUBLE, DoubleType)

  val all: Seq[Dtype] = Seq(Float32, Float64)
}
