package org.ctmahout.samsara
package incore

import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

class GemmTest {

  /** What a JVM with these options chooses. */
  private def chosen(options: String*): String = {
    val java = s"${System.getProperty("java.home")}/bin/java"
    val command =
      Seq(java) ++ options ++ Seq("-Xshare:auto", "-cp", System.getProperty("java.class.path"), GemmTest.getClass.getName.stripSuffix("$"))
    scala.sys.process.Process(command).!!(scala.sys.process.ProcessLogger(_ => ())).trim
  }

  @Test def theVectorKernelIsChosenWhereItIsFast(): Unit = {
    val module = "--add-modules=jdk.incubator.vector"
    assertEquals("vector kernel", Gemm.instance.name, "the tests' own JVM has all that it needs")
    for ((options, why) <- Seq(Seq() -> "", Seq(module, "-XX:-UseFMA") -> "(no FMA)", Seq(module, "-Xint") -> "(interpreted)")) {
      val name = chosen(options: _*)
      assertTrue(name.contains("BLAS") && name.endsWith(why), s"$options: $name")
    }
  }

  /** Each element is one chain of fused multiply-adds in the order of the terms, however the work is cut and packed. */
  @Test def theVectorKernelRoundsAsIfItWereAloneWithEachElement(): Unit = {
    val random = new scala.util.Random(1)
    for {
      (rows, columns, terms) <-
        Seq((1, 1, 1), (3, 5, 2), (31, 33, 70), (32, 32, 64), (133, 40, 65), (258, 96, 3), (40, 100, 130), (129, 7, 5), (135, 290, 70))
      apart <- Seq(3, 600) // far apart it is packed
      isTransposed <- Seq(false, true)
      upper <- Seq(false, true)
    } {
      val width = VectorGemm.stride(columns)
      val (aRow, aTerm) = if (isTransposed) (1, rows + apart) else (terms + apart, 1)
      val a = Array.fill(7 + (rows - 1) * aRow + (terms - 1) * aTerm + 1)(random.nextGaussian())
      val b = Array.fill(5 + terms * width)(random.nextGaussian())
      val before = Array.fill(2 + rows * width)(random.nextGaussian())
      val c = before.clone()
      VectorGemm.multiplyAdd(rows, columns, terms, a, 7, aRow, aTerm, b, 5, c, 2, upper)
      for (i <- 0 until rows; j <- (if (upper) i else 0) until columns) {
        var expected = before(2 + i * width + j)
        for (k <- 0 until terms) expected = java.lang.Math.fma(a(7 + i * aRow + k * aTerm), b(5 + k * width + j), expected)
        assertEquals(
          expected,
          c(2 + i * width + j),
          s"($i, $j) of $rows x $columns, $terms terms, transposed: $isTransposed, upper: $upper")
      }
    }
  }

  @Test def whatAJvmSaysOfItself(): Unit = {
    val hotspot = Map("java.vm.name" -> "OpenJDK 64-Bit Server VM", "java.vm.info" -> "mixed mode, sharing")
    val fine = Map("TieredStopAtLevel" -> "4", "UseFMA" -> "true", "EnableVectorSupport" -> "true", "UseJVMCICompiler" -> "false")
    def obstacle(properties: Map[String, String], flags: Map[String, String]) = Gemm.obstacle(properties.getOrElse(_, ""), flags.get)
    assertEquals(None, obstacle(hotspot, fine))
    assertEquals(None, obstacle(hotspot, Map.empty), "an option that is not there is not off")
    assertEquals(Some("no C2 compiler"), obstacle(hotspot, fine + ("TieredStopAtLevel" -> "1")))
    assertEquals(Some("no C2 compiler"), obstacle(hotspot, fine + ("UseJVMCICompiler" -> "true")))
    assertEquals(Some("EnableVectorSupport is off"), obstacle(hotspot, fine + ("EnableVectorSupport" -> "false")))
    assertTrue(obstacle(hotspot + ("java.vm.name" -> "Eclipse OpenJ9 VM"), Map.empty).nonEmpty)
  }
}

object GemmTest {
  def main(args: Array[String]): Unit = println(Gemm.instance.name)
}
