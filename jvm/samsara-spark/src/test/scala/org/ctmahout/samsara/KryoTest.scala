package org.ctmahout.samsara

import org.junit.jupiter.api.Test

/** Kryo that refuses whatever it has not been told of. */
class KryoTest {
  @Test def allThatTravelsIsRegistered(): Unit = Local.withSpark(
    "local[2]",
    "spark.serializer" -> "org.apache.spark.serializer.KryoSerializer",
    "spark.kryo.registrationRequired" -> "true",
    "spark.kryo.registrator" -> "org.ctmahout.samsara.KryoClasses",
    "spark.kryo.classesToRegister" -> "[[D" // of this test's own, from which it makes blocks
  ) { _ =>
    val test = new AlgebraPropertyTest
    for (seed <- Seq(0L, 2L)) test.onSpark(seed, driverEntries = 1L)
  }
}
