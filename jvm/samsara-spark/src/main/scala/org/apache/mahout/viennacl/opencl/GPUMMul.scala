package org.apache.mahout.viennacl.opencl

import org.apache.mahout.math.Matrix
import org.ctmahout.samsara.incore.Products

/**
 * Mahout's in-core products look for an object of this name in the class path and use it if there is one
 * (`RootSolverFactory`). It is the one way in, made for GPUs; ours runs on the CPU.
 */
object GPUMMul extends ((Matrix, Matrix, Option[Matrix]) => Matrix) {
  override def apply(a: Matrix, b: Matrix, into: Option[Matrix]): Matrix = Products.inCore(a, b, into)
}
