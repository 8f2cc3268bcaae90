package org.ctmahout.bridge

import org.apache.spark.Partitioner

/** Of keys that begin with the number of a group, with a partition and a place in it behind: groups are dealt out in turn. */
private[bridge] final class ModuloPartitioner(override val numPartitions: Int) extends Partitioner {
  override def getPartition(key: Any): Int = key match {
    case (group: Int, _, _) => group % numPartitions
    case other => throw new IllegalArgumentException(s"$other is no key of a group's rows")
  }
  override def equals(that: Any): Boolean = that match {
    case other: ModuloPartitioner => other.numPartitions == numPartitions
    case _ => false
  }
  override def hashCode: Int = numPartitions
}
