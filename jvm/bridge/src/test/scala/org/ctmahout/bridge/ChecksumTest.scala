package org.ctmahout.bridge

import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.Checksum
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.assertEquals

class ChecksumTest {

  @Test def agreesWithTheVectorsOfTheContract(): Unit = {
    val vectors = Json.elements(json(new java.io.File(contract, "checksum.json")))
    assertEquals(5, vectors.size)
    vectors.foreach { vector =>
      val single = vector.get("dtype").textValue == "float32"
      val sum = Json.elements(vector.get("rows")).map { row =>
        val values = Json.elements(row.get(1)).map(_.doubleValue).toArray
        val weights = Checksum.weights(values.length)
        if (single) Checksum.ofRow(row.get(0).longValue, values.map(_.toFloat), weights)
        else Checksum.ofRow(row.get(0).longValue, values, weights)
      }.sum
      assertEquals(vector.get("checksum").textValue, Checksum.hex(sum), vector.toString)
    }
  }

  @Test def rowNumbersAddUpOnlyIfEachIsThereOnce(): Unit = {
    assertEquals(0L, Checksum.ofRowNumbers(0))
    assertEquals(Seq(2L, 0L, 1L).map(Checksum.ofRowNumber).sum, Checksum.ofRowNumbers(3))
  }
}
