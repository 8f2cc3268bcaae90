package org.ctmahout.samsara
package blocks

import java.lang.ref.WeakReference

import scala.collection.mutable.ArrayBuffer

/** A collection that does not keep its elements alive. */
private[samsara] final class WeakReferences[T <: AnyRef] {
  private val all = ArrayBuffer.empty[WeakReference[T]]

  def add(x: T): Unit = {
    keep(_ => true)
    all += new WeakReference(x)
    ()
  }

  /** Whether it was there. */
  def remove(x: AnyRef): Boolean = {
    val before = size
    keep(_ ne x)
    size < before
  }

  def size: Int = all.count(_.get != null)

  /** All of them; none is left. */
  def drain(): Seq[T] = {
    val there = all.flatMap(r => Option(r.get)).toList
    all.clear()
    there
  }

  private def keep(isWanted: T => Boolean): Unit = {
    val kept = all.filter { r =>
      val x = r.get; x != null && isWanted(x)
    }
    all.clear()
    all ++= kept
    ()
  }
}
