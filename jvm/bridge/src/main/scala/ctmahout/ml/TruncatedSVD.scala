package ctmahout.ml

import org.apache.spark.ml.param.{Param, ParamMap}
import org.apache.spark.ml.util.{DefaultParamsReadable, Identifiable}

/**
 * Mahout's distributed stochastic SVD as an estimator: A is about U diag(s) V', and the model appends x V, which of A's own rows
 * is U diag(s). Nothing is centred, so sparse vectors stay sparse. Halko, Martinsson, Tropp 2011, SIAM Review 53, algorithm 5.1.
 */
class TruncatedSVD(override val uid: String) extends StochasticEstimator[TruncatedSVDModel] {
  def this() = this(Identifiable.randomUID("truncatedSVD"))

  /** "dssvd"; "exact", from A'A, for a few hundred columns at most; or "auto", whichever of them costs less. */
  final val algorithm: Param[String] = new Param[String](this, "algorithm", "dssvd, exact or auto")
  setDefault(algorithm -> "dssvd")

  def getAlgorithm: String = $(algorithm)
  def setAlgorithm(value: String): this.type = set(algorithm, value)

  override private[ml] def algorithmName: String =
    if ($(algorithm) != "dspca") $(algorithm)
    else throw org.ctmahout.bridge.Errors(
      "CTM_REQUEST_INVALID",
      "problem" -> "algorithm is dspca, expected dssvd, exact or auto; StochasticPCA takes the means off")
  override private[ml] def newModel: TruncatedSVDModel = new TruncatedSVDModel(uid)
  override def copy(extra: ParamMap): TruncatedSVD = defaultCopy(extra)
}

object TruncatedSVD extends DefaultParamsReadable[TruncatedSVD]

/** The model of [[TruncatedSVD]]: x V for each vector x. */
class TruncatedSVDModel private[ml] (override val uid: String) extends StochasticModel[TruncatedSVDModel] {
  override def copy(extra: ParamMap): TruncatedSVDModel =
    copyValues(new TruncatedSVDModel(uid).having(learned), extra).setParent(parent)
}

object TruncatedSVDModel extends StochasticModelReadable[TruncatedSVDModel]
