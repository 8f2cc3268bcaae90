package org.ctmahout.bridge

/** What decomposes a matrix. */
private[bridge] sealed abstract class Algorithm(val name: String) extends Serializable {

  /** Whether the mean of each column is taken off before. */
  def isCentred: Boolean = false
}

private[bridge] object Algorithm {

  /** Mahout's randomised dssvd. */
  case object Dssvd extends Algorithm("dssvd")

  /** By A'A, for narrow matrices: k counts, p and q do not. */
  case object Exact extends Algorithm("exact")

  /** What Mahout's dspca computes: dssvd of the matrix less the mean of each column. */
  case object Dspca extends Algorithm("dspca") {
    override def isCentred: Boolean = true
  }

  /** Dssvd or exact, whichever costs less: see [[Choice]]. */
  case object Auto extends Algorithm("auto")

  val all: Seq[Algorithm] = Seq(Dssvd, Exact, Dspca, Auto)
}
