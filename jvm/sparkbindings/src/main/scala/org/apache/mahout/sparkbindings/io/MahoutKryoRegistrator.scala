package org.apache.mahout.sparkbindings.io

import com.esotericsoftware.kryo.Kryo
import org.apache.mahout.common.io.{GenericMatrixKryoSerializer, VectorKryoSerializer}
import org.apache.mahout.math.{Matrix, Vector}
import org.apache.spark.serializer.KryoRegistrator
import org.ctmahout.samsara.KryoClasses

/** Has Kryo write Mahout's vectors and matrices, which Java does not, by Mahout's own serializers. */
class MahoutKryoRegistrator extends KryoRegistrator {
  override def registerClasses(kryo: Kryo): Unit = {
    kryo.addDefaultSerializer(classOf[Vector], new VectorKryoSerializer())
    kryo.addDefaultSerializer(classOf[Matrix], classOf[GenericMatrixKryoSerializer])
    new KryoClasses().registerClasses(kryo)
  }
}
