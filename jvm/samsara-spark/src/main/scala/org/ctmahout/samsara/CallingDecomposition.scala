package org.ctmahout.samsara

/**
 * Which of Mahout's decompositions is under way in this thread. Two things depend on it, and on nothing else about the caller:
 *
 *   - Mahout's decompositions need Gram matrices that are positive definite in spite of rounding ([[Multiplication.gram]]);
 *   - dssvd asks of its random projections only that they span a good space, so that these may be in single precision ([[Basis]]).
 *
 * The engine's own `StochasticSvd` and `ExactSvd` say so, around the call. A program that calls Mahout's `dssvd`, `dspca` or
 * `dqrThin` itself says nothing, and Mahout's sources stay as they are: for such calls, and for them alone, the stack is looked at.
 */
private[samsara] sealed trait CallingDecomposition

private[samsara] object CallingDecomposition {

  /** `DSSVD.dssvd`, and what it calls. */
  case object Dssvd extends CallingDecomposition

  /** `DQR.dqrThin` for itself, or another of Mahout's decompositions. */
  case object Other extends CallingDecomposition

  /** A plan that is asked for outside of them all. */
  case object NoDecomposition extends CallingDecomposition

  // Not inherited: a thread of a pool that was begun meanwhile would keep it for good.
  private val declared = new ThreadLocal[Option[CallingDecomposition]] {
    override def initialValue(): Option[CallingDecomposition] = None
  }

  /** Declares what `body` is, for all plans evaluated in it on this thread. */
  def within[T](calling: CallingDecomposition)(body: => T): T = {
    val before = declared.get
    declared.set(Some(calling))
    try body
    finally declared.set(before)
  }

  def now: CallingDecomposition = declared.get.getOrElse(ofStack)

  private val Package = "org.apache.mahout.math.decompositions."

  /** The fallback for programs that call Mahout's decompositions themselves. */
  private def ofStack: CallingDecomposition =
    if (isOnStack(Package + "DSSVD")) Dssvd else if (isOnStack(Package)) Other else NoDecomposition

  private def isOnStack(prefix: String): Boolean =
    StackWalker.getInstance.walk[Boolean](_.anyMatch(_.getClassName.startsWith(prefix)))
}
