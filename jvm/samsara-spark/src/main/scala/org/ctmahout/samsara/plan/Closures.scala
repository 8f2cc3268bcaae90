package org.ctmahout.samsara
package plan

import java.lang.invoke.SerializedLambda

import scala.reflect.ClassTag

import org.apache.mahout.math.drm.BlockMapFunc
import org.ctmahout.samsara.incore.{Identity, Products}

/**
 * The block functions of Mahout's that multiply every row by the same small matrix, which the engine can carry along
 * as a factor. A function that is not recognised is run as it is: the same result, more slowly.
 */
private[samsara] object Closures {
  sealed trait Meaning

  /** dqrThin's Q = Y R^-1, solved row by row. */
  case object TriangularSolve extends Meaning

  /** dssvd's Y = A Omega. */
  case object RandomProjection extends Meaning

  /** The shift of row numbers that Mahout's optimiser adds to B of an rbind, again each time it sees the plan. */
  case object RowShift extends Meaning
  case object Unknown extends Meaning

  private val Known = Map(
    ("org/apache/mahout/math/decompositions/DQR$", "dqrThin") -> TriangularSolve,
    ("org/apache/mahout/math/decompositions/DSSVD$", "dssvd") -> RandomProjection,
    ("org/apache/mahout/math/drm/DistributedEngine$", "pass1") -> RowShift
  )

  /** Scala closures are Java lambdas; what one serialises to names the method that holds its body. */
  def meaning(f: AnyRef): Meaning =
    try {
      val method = f.getClass.getDeclaredMethod("writeReplace")
      method.setAccessible(true)
      method.invoke(f) match {
        case lambda: SerializedLambda =>
          Known
            .collectFirst { case ((owner, name), m) if lambda.getImplClass == owner && lambda.getImplMethodName.contains(name) => m }
            .getOrElse(Unknown)
        case _ => Unknown
      }
    } catch { case _: ReflectiveOperationException | _: RuntimeException => Unknown }

  /** The matrix by which a function multiplies rows of n columns: its value for the identity. */
  def factor[S, R](f: BlockMapFunc[S, R], keys: ClassTag[S], n: Int): DenseBlock =
    Products.dense(f((keys.newArray(n), new Identity(n)))._2)
}
