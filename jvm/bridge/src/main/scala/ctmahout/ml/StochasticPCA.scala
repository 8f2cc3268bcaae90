package ctmahout.ml

import org.apache.spark.ml.linalg.{DenseMatrix, DenseVector, Vectors}
import org.apache.spark.ml.param.ParamMap
import org.apache.spark.ml.util.{DefaultParamsReadable, Identifiable}

/**
 * Principal components by Mahout's distributed stochastic SVD of A less the mean of each column, which is taken off while A is
 * used: there is no centred copy of it. The model appends (x - mean) V. (That of spark.ml's PCA appends x V.)
 */
class StochasticPCA(override val uid: String) extends StochasticEstimator[StochasticPCAModel] {
  def this() = this(Identifiable.randomUID("stochasticPCA"))

  override private[ml] def algorithmName: String = "dspca"
  override private[ml] def newModel: StochasticPCAModel = new StochasticPCAModel(uid)
  override def copy(extra: ParamMap): StochasticPCA = defaultCopy(extra)
}

object StochasticPCA extends DefaultParamsReadable[StochasticPCA]

/** The model of [[StochasticPCA]]: (x - mean) V for each vector x. */
class StochasticPCAModel private[ml] (override val uid: String) extends StochasticModel[StochasticPCAModel] {

  /** Principal components, a column each: [[v]] by the name that spark.ml has for it. */
  def pc: DenseMatrix = v

  /** The mean of each column. */
  def mean: DenseVector = learned.means.get.toDense

  /** The share of the variance in the direction of each component. */
  def explainedVariance: DenseVector = {
    val all = learned.squaredNorm
    Vectors.dense(s.values.map(x => if (all > 0) x * x / all else 0.0)).toDense
  }

  override def copy(extra: ParamMap): StochasticPCAModel =
    copyValues(new StochasticPCAModel(uid).having(learned), extra).setParent(parent)
}

object StochasticPCAModel extends StochasticModelReadable[StochasticPCAModel]
