package org.ctmahout.bridge

import org.apache.hadoop.fs.Path
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.{Dtype, Manifest, MatrixGroup}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.{assertEquals, assertTrue}

class ManifestTest {
  private val good =
    """{"kind": "matrix", "exchange_version": "1.0", "dtype": "float32", "units": "HU", "writer": {"name": "t", "version": "0"},
      |"groups": [{"group": 0, "rows": 10, "columns": 3, "checksum": "0123456789abcdef"}]}""".stripMargin

  private def parse(text: String) = Manifest.parseMatrix(new Path("file:/m"), text.getBytes("UTF-8"))

  private def refuses(code: String, about: String)(from: String, to: String): Unit = {
    assertTrue(good.contains(from), from)
    val e = refused(code)(parse(good.replace(from, to)))
    assertTrue(e.getMessage.contains(about), e.getMessage)
  }

  @Test def readsWhatTheReaderNeeds(): Unit = {
    val manifest = parse(good)
    assertEquals(Seq(MatrixGroup(0, 10, 3, "0123456789abcdef")), manifest.groups)
    assertEquals(Dtype.Float32, manifest.dtype)
    assertEquals("[0-9a-f]{64}", manifest.sha256.replaceAll("^[0-9a-f]{64}$", "[0-9a-f]{64}"))
  }

  @Test def unknownFieldsAndHigherMinorVersionsAreFine(): Unit =
    assertEquals(10L, parse(good.replace("\"1.0\"", "\"1.7\", \"files\": [], \"more\": {\"x\": []}")).groups.head.rows)

  @Test def filesAreNamedFromTheNextVersionOn(): Unit = {
    def naming(files: String) = good.replace("\"1.0\"", "\"1.1\", \"files\": " + files)
    assertEquals(None, parse(good).files)
    assertEquals(Some(Seq("part-0.parquet", "v/part-1.parquet")), parse(naming("""["v/part-1.parquet", "part-0.parquet"]""")).files)
    assertEquals(Some(Nil), parse(naming("[]")).files)
    assertEquals(Some(Seq("part-0.parquet")), parse(good.replace("\"1.0\"", "\"1.0\", \"files\": [\"part-0.parquet\"]")).files)
    for ((files, problem) <- Seq(
        "[1]" -> "files is not a list of texts",
        "{}" -> "files is not a list of texts",
        "[\"a/../part-0.parquet\"]" -> "files has a/../part-0.parquet",
        "[\"arrays/../part-0.parquet\"]" -> "files has arrays/../part-0.parquet",
        "[\"part-0.parquet\", \"part-0.parquet\"]" -> "a file is listed twice"
      )) {
      val e = refused("CTM_EXCHANGE_MANIFEST")(parse(naming(files)))
      assertTrue(e.getMessage.contains(problem), e.getMessage)
    }
    assertTrue(refused("CTM_EXCHANGE_MANIFEST")(parse(good.replace("1.0", "1.1"))).getMessage.contains("files is missing"))
  }

  @Test def kindAndVersionComeBeforeTheRestOfTheForm(): Unit = {
    refuses("CTM_EXCHANGE_KIND", "/m contains factors, expected a matrix")("\"matrix\"", "\"factors\"")
    refuses("CTM_EXCHANGE_VERSION", "version 2.0; this ctmahout reads version 1.1")("\"1.0\", \"dtype\": \"float32\"", "\"2.0\"")
    refuses("CTM_EXCHANGE_KIND", "factors")("\"matrix\", \"exchange_version\": \"1.0\"", "\"factors\", \"exchange_version\": \"2.0\"")
    refuses("CTM_EXCHANGE_VERSION", "version 10.0")("\"1.0\"", "\"10.0\"")
  }

  @Test def saysWhatIsWrongWithTheForm(): Unit = {
    val manifest = refuses("CTM_EXCHANGE_MANIFEST", _: String) _
    manifest("kind is missing")("\"kind\": \"matrix\", ", "")
    manifest("exchange_version")("\"1.0\"", "\"one\"")
    manifest("exchange_version")("\"1.0\"", "1.0")
    manifest("dtype is int16, expected float32 or float64")("float32", "int16")
    manifest("version is missing")(", \"version\": \"0\"", "")
    manifest("writer is missing")("\"writer\"", "\"author\"")
    manifest("rows is 0, expected an integer of at least 1")("10", "0")
    manifest("columns is \"3\"")(": 3", ": \"3\"")
    manifest("group is -1")("\"group\": 0", "\"group\": -1")
    manifest("checksum is missing")("checksum", "sum")
    manifest("expected 16 hexadecimal digits")("0123456789abcdef", "0123456789ABCDEF")
    manifest("groups is not a list")("[{", "[], \"old\": [{")
    manifest("not JSON")("}]}", "}]")
    manifest("not JSON")("10", "NaN")
    val twice = """{"group": 0, "rows": 10, "columns": 3, "checksum": "0123456789abcdef"}]"""
    manifest("a group is listed twice")("}]", "}, " + twice)
    manifest("its groups differ in columns")("}]", "}, " + twice.replace(": 0", ": 1").replace("3,", "4,"))
  }

  @Test def anObjectIsExpected(): Unit =
    for (text <- Seq("", "[]", "3", "null", "\u0000")) refused("CTM_EXCHANGE_MANIFEST")(parse(text))
}
