package org.ctmahout.samsara
package incore

import org.apache.mahout.math._

/**
 * Mahout's random matrices are functions of (row, column), evaluated at each access. dssvd multiplies every block of A
 * by the same one, so it is written out once in a process, not hashed again for each row.
 */
private object RandomViews {
  private final case class Solid(key: Seq[Any], block: DenseBlock)
  @volatile private var last = new java.lang.ref.SoftReference[Solid](null)

  def materialised(view: Matrix): DenseBlock = identity(view) match {
    case None => Products.copy(view)
    case Some(key) =>
      val known = last.get
      if (known != null && known.key == key) known.block
      else {
        val solid = Solid(key, Products.copy(view))
        last = new java.lang.ref.SoftReference(solid)
        solid.block
      }
  }

  /** Shape, kind and seed, if it is one of Mahout's own random matrices: any other function may be anything. */
  private def identity(view: Matrix): Option[Seq[Any]] =
    try {
      def valueOf(field: java.lang.reflect.Field, of: AnyRef): AnyRef = { field.setAccessible(true); field.get(of) }
      val function = valueOf(view.getClass.getDeclaredField("gf"), view)
      val seeds = function.getClass.getDeclaredFields.filter(_.getType.isPrimitive).map(valueOf(_, function)).toSeq
      val isMahouts = function.getClass.getName.startsWith("org.apache.mahout.math.Matrices$")
      if (isMahouts && seeds.nonEmpty) Some(Seq[Any](view.rowSize, view.columnSize, function.getClass.getName) ++ seeds) else None
    } catch { case _: NoSuchFieldException => None }
}
