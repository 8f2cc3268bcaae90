package org.ctmahout.samsara

import com.esotericsoftware.kryo.{Kryo, Serializer}
import com.esotericsoftware.kryo.io.{Input, Output}
import org.apache.spark.serializer.KryoRegistrator
import org.ctmahout.samsara.blocks.{Piece, Place, SparkBlocks}
import org.ctmahout.samsara.io.RddRows
import org.ctmahout.samsara.plan.{Numbering, Sampling}

/** Has Kryo write a block's own rows and columns, not the whole of the array that it may be a window on. */
private[samsara] final class KryoBlocks extends Serializer[Block] {
  override def write(kryo: Kryo, out: Output, block: Block): Unit = {
    out.writeInt(block.rowSize)
    out.writeInt(block.columnSize)
    block match {
      case doubles: DenseBlock => out.writeDoubles(doubles.whole.data)
      case floats: FloatBlock => out.writeFloats(floats.whole.data)
      case some: SparseBlock =>
        val sparse = some.whole
        out.writeInt(sparse.values.length)
        out.writeInts(sparse.starts)
        out.writeInts(sparse.indices)
        out.writeDoubles(sparse.values)
        out.writeBoolean(sparse.less ne null)
        if (sparse.less ne null) out.writeDoubles(sparse.less)
      case other => throw new IllegalArgumentException(s"a ${other.getClass.getName} is not a block that Kryo can write")
    }
  }

  override def read(kryo: Kryo, in: Input, kind: Class[Block]): Block = {
    val (rows, columns) = (in.readInt(), in.readInt())
    if (kind == classOf[SparseBlock]) {
      val count = in.readInt()
      val (starts, indices, values) = (in.readInts(rows + 1), in.readInts(count), in.readDoubles(count))
      new SparseBlock(rows, columns, 0, starts, indices, values, if (in.readBoolean()) in.readDoubles(columns) else null)
    } else if (kind == classOf[FloatBlock]) new FloatBlock(rows, columns, in.readFloats(rows * columns))
    else new DenseBlock(rows, columns, in.readDoubles(rows * columns))
  }
}

/**
 * The classes that the engine has Kryo write, for sessions with `spark.kryo.registrationRequired`:
 * `spark.kryo.registrator=org.ctmahout.samsara.KryoClasses`. Others need nothing.
 */
final class KryoClasses extends KryoRegistrator {
  override def registerClasses(kryo: Kryo): Unit =
    // format: off
    Seq[Class[_]](
      classOf[DenseBlock], classOf[FloatBlock], classOf[SparseBlock], classOf[Place], classOf[Piece], classOf[SparkBlocks.Sum[_]],
      classOf[Sampling.Drawn], classOf[Array[Sampling.Drawn]], classOf[Array[Array[Sampling.Drawn]]],
      classOf[RddRows.RowStatistics], classOf[Array[Option[_]]], classOf[Array[Array[(_, _)]]],
      classOf[Numbering.Gap], classOf[Array[Numbering.Gap]]).foreach(kryo.register(_))
    // format: on
}
