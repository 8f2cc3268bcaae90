package org.ctmahout.samsara

import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

class GemmTest {

  /** What a JVM with these options chooses. */
  private def chosen(options: String*): String = {
    val java = s"${System.getProperty("java.home")}/bin/java"
    val command = Seq(java) ++ options ++ Seq("-Xshare:auto", "-cp", System.getProperty("java.class.path"), GemmTest.getClass.getName.stripSuffix("$"))
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
