// Four modules, each for two Spark lines: 3.5 and 4. Scala 2.12 has the first, Scala 2.13 both.
import com.eed3si9n.jarjarabrams.ShadeRule

val scala212 = "2.12.18"
val scala213 = "2.13.16"
val mahoutVersion = "14.1"
val exchangeVersion = "1.1"

// Compiled against these, and run on every release of the line. `-Dctmahout.spark=VERSION` takes another: Spark 3.5 on Scala
// 2.13, or a release to be tested. `-Dctmahout.jdk=FOLDER` runs the tests on another JDK.
val otherSpark = sys.props.get("ctmahout.spark")
val otherJdk = sys.props.get("ctmahout.jdk").map(file)
val sparkVersion = Map("2.12" -> "3.5.9", "2.13" -> "4.0.1").map { case (scala, v) => scala -> otherSpark.getOrElse(v) }
val sparkLine = sparkVersion.map { case (scala, version) => scala -> (if (version.startsWith("3.")) "3.5" else "4") }
val netlibVersion = "3.0.3" // what both Spark lines carry

ThisBuild / organization := "org.ctmahout"
// pyproject.toml is the one place that says the version, and where the project is at home.
def pyproject(key: String, root: File): String = {
  val line = s"""$key = "(.+)"""".r
  IO.readLines(root / "pyproject.toml").collectFirst { case line(value) => value }.getOrElse(sys.error(s"pyproject.toml has no $key"))
}
val home = settingKey[String]("The address of the repository")
ThisBuild / home := pyproject("source", (ThisBuild / baseDirectory).value)
ThisBuild / version := pyproject("version", (ThisBuild / baseDirectory).value)
ThisBuild / scalaVersion := scala213
ThisBuild / crossScalaVersions := Seq(scala212, scala213)

// What is published: the engine, Mahout's core beside it, names that old programs import, and the bridge. The one jar for
// spark-submit is the wheel's. docs/release.md.
ThisBuild / licenses := Seq("Apache-2.0" -> url("https://www.apache.org/licenses/LICENSE-2.0.txt"))
ThisBuild / organizationName := "the ctmahout authors"
ThisBuild / startYear := Some(2026)
ThisBuild / homepage := Some(url(home.value))
ThisBuild / scmInfo := Some(ScmInfo(url(home.value), s"scm:git:${home.value}.git"))
ThisBuild / developers := List(Developer("ctmahout", "the ctmahout authors", "", url(home.value)))
ThisBuild / publishTo := localStaging.value
ThisBuild / versionScheme := Some("early-semver")
ThisBuild / pomIncludeRepository := (_ => false)

// `mimaReportBinaryIssues` compares with the last release in CHANGELOG.md, if this version promises to be compatible with it:
// the same first number, and up to 1.0 the same second one (early-semver).
def compatibleRelease(root: File, version: String): Option[String] = {
  val heading = """## \[(\d\S*)\].*""".r
  def line(of: String) = of.split('.').take(if (of.startsWith("0.")) 2 else 1).toSeq
  IO.readLines(root / "CHANGELOG.md").collect { case heading(release) => release }.find(_ != version).filter(line(_) == line(version))
}
ThisBuild / mimaFailOnNoPrevious := false
val compatibility = mimaPreviousArtifacts := compatibleRelease((ThisBuild / baseDirectory).value, version.value)
  .map(organization.value %% moduleName.value % _).toSet

// Every jar says under what terms it may be used.
val termFiles = Def.task(Seq("LICENSE", "NOTICE").map(name => (ThisBuild / baseDirectory).value / name -> s"META-INF/$name"))
val terms = Seq(Compile / packageBin / mappings ++= termFiles.value, Compile / packageSrc / mappings ++= termFiles.value)

// In a jar of sources, generated ones lie in the folders of their packages like the others, where debuggers look for them.
val generatedSources = Compile / packageSrc / mappings ~= {
  _.map { case (file, path) => file -> path.replaceFirst("^target/scala-[0-9.]+/src_managed/(main|mahout)/", "") }
}

// `-Dctmahout.javadoc=false` leaves out the documentation that Maven Central asks for, which takes longer than all the rest.
val javadoc = Seq(
  Compile / packageDoc / publishArtifact := !sys.props.get("ctmahout.javadoc").contains("false"),
  Test / packageDoc / publishArtifact := false // which else is that of Compile
)

// The same version again, while it is being worked on.
val overwriting = Seq(
  publishConfiguration := publishConfiguration.value.withOverwrite(true),
  publishLocalConfiguration := publishLocalConfiguration.value.withOverwrite(true),
  publishM2Configuration := publishM2Configuration.value.withOverwrite(true)
)

// Modules test side by side: each of their JVMs waits for its Spark more than it computes.
Global / concurrentRestrictions := Seq(Tags.limitAll(2), Tags.limit(Tags.ForkedTestGroup, 2), Tags.exclusiveGroup(Tags.Clean))

lazy val root = (project in file("."))
  .aggregate(mahoutCore, samsaraSpark, sparkbindings, bridge)
  .settings(publish / skip := true, crossScalaVersions := Nil)

def spark(name: String) = Def.setting("org.apache.spark" %% s"spark-$name" % sparkVersion(scalaBinaryVersion.value) % Provided)

// What Spark's own launcher passes to a JVM 17+ (org.apache.spark.launcher.JavaModuleOptions), and the vector module.
val moduleOptions = Seq("--add-modules=jdk.incubator.vector", "-XX:+IgnoreUnrecognizedVMOptions") ++
  Seq(
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs",
    "sun.security.action", "sun.util.calendar"
  ).map(p => s"--add-opens=java.base/$p=ALL-UNNAMED")

// What scalac may warn of in sources of ours, each time an error. Scala 2.12 has other names for it, and its -Xlint finds what is
// unused but for parameters, where it errs.
val lints = Def.setting {
  val kinds = Seq("dead-code", "numeric-widen", "value-discard")
  "-Xlint" +: (if (scalaBinaryVersion.value == "2.12") kinds.map("-Ywarn-" + _) else (kinds :+ "unused").map("-W" + _))
}

val ours = Seq(
  scalacOptions ++= Seq("-deprecation", "-feature", "-unchecked", "-Xfatal-warnings", "-release", "17") ++ lints.value,
  // A test is done with what assertThrows has caught.
  Test / scalacOptions ~= (_.filterNot(_.endsWith("value-discard"))),
  javacOptions ++= Seq("--release", "17", "-Xlint:all", "-Werror"),
  // What differs between Spark lines; between Scala lines nothing does.
  Compile / unmanagedSourceDirectories += (Compile / sourceDirectory).value / s"scala-spark-${sparkLine(scalaBinaryVersion.value)}",
  target := otherSpark.fold(target.value)(version => target.value / s"spark-$version"),
  Test / fork := true,
  Test / javaHome := otherJdk,
  Test / javaOptions ++= moduleOptions ++ Seq("-Xmx2g", "-Dspark.ui.enabled=false", "-Dspark.driver.bindAddress=127.0.0.1"),
  Test / envVars ++= Map("SPARK_LOCAL_IP" -> "127.0.0.1"),
  Test / parallelExecution := false,
  libraryDependencies += "com.github.sbt.junit" % "jupiter-interface" % "0.15.1" % Test,
  // Scaladoc links no exception of Java's by its short name, and each would be a warning.
  Compile / doc / scalacOptions := Seq("-Xfatal-warnings", "-no-link-warnings", "-doc-title", description.value, "-doc-version", version.value)
)

lazy val Upstream = config("upstream").hide

// Apache Mahout's core, compiled from the sources artifact that Apache publishes; docs/adr/0001.
lazy val mahoutCore = (project in file("jvm/mahout-core"))
  .configs(Upstream)
  .settings(overwriting, javadoc, compatibility)
  .settings(
    // No artifact of Apache's, and its name says so.
    name := "mahout-core-repackaged",
    description := "A repackaged core of Apache Mahout 14.1 (in-core and distributed algebra, decompositions), compiled by the ctmahout authors for Scala 2.12 and 2.13 from the sources that Apache publishes, some lines of which are changed; not a release of The Apache Software Foundation",
    terms,
    ivyConfigurations += Upstream,
    libraryDependencies ++= Seq(
      "org.apache.mahout" % "mahout-core" % mahoutVersion % Upstream classifier "sources" intransitive (),
      spark("core").value,
      "it.unimi.dsi" % "fastutil-core" % "8.5.16",
      "com.google.guava" % "guava" % (if (scalaBinaryVersion.value == "2.12") "14.0.1" else "33.6.0-jre") % Provided
    ),
    scalacOptions ++= Seq("-language:postfixOps,implicitConversions,higherKinds,existentials", "-nowarn", "-release", "17"),
    javacOptions ++= Seq("-nowarn", "--release", "17"),
    Compile / sourceGenerators += Def.task(mahoutSources.value._1).taskValue,
    Compile / resourceGenerators += Def.task(mahoutSources.value._2).taskValue,
    // So that they go to META-INF/mahout, and not to the top of the jar.
    Compile / managedResourceDirectories += crossTarget.value / "resource_managed" / "mahout",
    // Mahout's own documentation is Apache's to publish; Central takes a page that says where it is.
    Compile / doc / sources := Nil,
    Compile / packageDoc / mappings := Seq(baseDirectory.value / "README.md" -> "README.md"),
    Compile / packageBin / mainClass := None,
    generatedSources
  )

// The sources, unpacked once for each Scala line, and Mahout's LICENSE and NOTICE.
lazy val mahoutSources = taskKey[(Seq[File], Seq[File])]("Unpacks Mahout's published sources")
mahoutCore / mahoutSources := {
  val jar = (mahoutCore / Compile / update).value
    .select(configurationFilter("upstream"))
    .find(_.getName.endsWith("-sources.jar"))
    .getOrElse(sys.error("Mahout's sources artifact was not resolved"))
  val pinned = "033a1e3cde1cf172dd1460d3a970326516c9c5b8edc6974c9314d3522775972d"
  val changes = (mahoutCore / baseDirectory).value / "changed-lines.txt"
  val sources = (mahoutCore / crossTarget).value / "src_managed" / "mahout"
  val resources = (mahoutCore / crossTarget).value / "resource_managed" / "mahout" / "META-INF" / "mahout"
  val unpack = FileFunction.cached((mahoutCore / streams).value.cacheDirectory / "mahout" / (mahoutCore / scalaBinaryVersion).value, FilesInfo.hash) { _ =>
    val found = java.security.MessageDigest.getInstance("SHA-256").digest(IO.readBytes(jar)).map("%02x".format(_)).mkString
    if (found != pinned) sys.error(s"$jar has SHA-256 $found, not the pinned $pinned")
    IO.delete(Seq(sources, resources))
    val leftOut = IO.readLines(changes).collect { case line if line.startsWith("xx ") => line.drop(3).trim }
    IO.unzip(jar, sources, (n: String) => (n.endsWith(".java") || n.endsWith(".scala")) && !leftOut.exists(n.startsWith(_)))
    changeLines(sources, IO.readLines(changes))
    IO.withTemporaryDirectory { tmp =>
      IO.unzip(jar, tmp, (n: String) => n == "META-INF/LICENSE" || n == "META-INF/NOTICE")
      IO.copyDirectory(tmp / "META-INF", resources)
    }
    IO.copyFile(changes, resources / changes.getName)
    ((sources ** "*").get() ++ (resources ** "*").get()).filter(_.isFile).toSet
  }
  val files = unpack(Set(jar, changes)).toSeq.sortBy(_.getPath)
  files.partition(f => f.getName.endsWith(".java") || f.getName.endsWith(".scala"))
}

// Compiles lines of Mahout's in another form, as changed-lines.txt says; a file that was changed says so in its first line.
def changeLines(sources: File, changes: Seq[String]): Unit = {
  def write(file: File, lines: Seq[String]): Unit = {
    val notice = "/* Changed by ctmahout: META-INF/mahout/changed-lines.txt says what. */ "
    IO.writeLines(file, (if (lines.head.startsWith(notice)) lines.head else notice + lines.head) +: lines.tail)
  }
  var in = ""
  var rest = changes.filterNot(_.startsWith("#"))
  while (rest.nonEmpty) {
    val line = rest.head
    rest = rest.tail
    if (line.startsWith("== ")) in = line.drop(3).trim
    else if (line.startsWith("- ")) {
      val (old, (now, others)) = (line.drop(2).trim, rest.span(_.startsWith("+")))
      rest = others
      for (file <- if (in == "*") (sources ** "*.scala").get() else Seq(sources / in)) {
        val lines = IO.readLines(file)
        val found = lines.count(_.trim == old)
        if (in != "*" && found != 1) sys.error(s"$in has $found lines: $old")
        if (found > 0) write(file, lines.flatMap { l =>
          if (l.trim == old) now.map(n => (l.takeWhile(_ == ' ') + n.drop(2)).replaceAll(" +$", "")) else Seq(l)
        })
      }
    }
  }
}

// Mahout's distributed engine for today's Spark; usable without the rest.
lazy val samsaraSpark = (project in file("jvm/samsara-spark"))
  .dependsOn(mahoutCore)
  .settings(ours, overwriting, javadoc, compatibility)
  .settings(
    name := "samsara-spark",
    moduleName := s"samsara-spark${sparkLine(scalaBinaryVersion.value)}",
    description := "Apache Mahout's distributed linear algebra on Apache Spark 3.5 and 4",
    terms,
    generatedSources,
    // Nobody else publishes what it depends on.
    publish := publish.dependsOn(mahoutCore / publish).value,
    publishLocal := publishLocal.dependsOn(mahoutCore / publishLocal).value,
    publishM2 := publishM2.dependsOn(mahoutCore / publishM2).value,
    // The vector kernel needs an incubator module, which --release hides and -Werror would not let pass.
    javacOptions := Seq("--add-modules", "jdk.incubator.vector", "-source", "17", "-target", "17", "-nowarn"),
    // Java has no types of numbers as parameters: the kernel for floats is that for doubles, word for word.
    Compile / sourceGenerators += Def.task {
      val ofDoubles = (Compile / javaSource).value / "org" / "ctmahout" / "samsara" / "incore" / "VectorKernel.java"
      val ofFloats = (Compile / sourceManaged).value / "org" / "ctmahout" / "samsara" / "incore" / "SingleKernel.java"
      val words = Seq("VectorKernel" -> "SingleKernel", "Double" -> "Float", "double" -> "float")
      IO.write(ofFloats, words.foldLeft(IO.read(ofDoubles)) { case (text, (from, to)) => text.replace(from, to) })
      Seq(ofFloats)
    }.taskValue,
    libraryDependencies ++= Seq(
      spark("core").value,
      spark("sql").value,
      "dev.ludovic.netlib" % "blas" % netlibVersion % Provided
    ),
    // Executors in processes of their own look for a Spark here; its classes come with the tests' own class path.
    Test / envVars ++= {
      val home = target.value / "spark-home"
      IO.createDirectory(home / "jars")
      Map("SPARK_HOME" -> home.getPath, "SPARK_SCALA_VERSION" -> scalaBinaryVersion.value)
    }
  )

// The names that programs for Mahout 14.1 on Spark import.
lazy val sparkbindings = (project in file("jvm/sparkbindings"))
  .dependsOn(samsaraSpark % "compile->compile;test->test")
  .settings(ours, overwriting, javadoc, compatibility)
  .settings(
    name := "mahout-sparkbindings",
    moduleName := s"mahout-sparkbindings-spark${sparkLine(scalaBinaryVersion.value)}",
    description := "The package org.apache.mahout.sparkbindings of Apache Mahout 14.1, written anew for ctmahout's engine",
    terms,
    publish := publish.dependsOn(samsaraSpark / publish).value,
    publishLocal := publishLocal.dependsOn(samsaraSpark / publishLocal).value,
    publishM2 := publishM2.dependsOn(samsaraSpark / publishM2).value,
    libraryDependencies ++= Seq(spark("core").value, spark("sql").value, spark("mllib").value)
  )

// The bridge: request in, manifest out, Parquet on both ends.
lazy val bridge = (project in file("jvm/bridge"))
  .dependsOn(samsaraSpark)
  .settings(ours, overwriting, javadoc, compatibility)
  .settings(
    name := "ctmahout-bridge",
    moduleName := s"ctmahout-bridge-spark${sparkLine(scalaBinaryVersion.value)}",
    description := "Singular value decompositions of ctmahout's exchange directories and of DataFrames, by Apache Mahout on Apache Spark",
    publish := publish.dependsOn(samsaraSpark / publish).value,
    publishLocal := publishLocal.dependsOn(samsaraSpark / publishLocal).value,
    publishM2 := publishM2.dependsOn(samsaraSpark / publishM2).value,
    libraryDependencies ++= Seq(
      spark("core").value,
      spark("sql").value,
      spark("mllib").value,
      "dev.ludovic.netlib" % "blas" % netlibVersion % Provided
    ),
    Compile / resourceGenerators += Def.task {
      val (root, resources) = ((ThisBuild / baseDirectory).value, (Compile / resourceManaged).value)
      val copies = (root / "contract" / "v1" / "errors.json" -> resources / "org" / "ctmahout" / "contract" / "errors.json") +:
        Seq("LICENSE", "NOTICE").map(name => root / name -> resources / "META-INF" / name)
      copies.map { case (from, to) => IO.copyFile(from, to); to }
    }.taskValue,
    assembly := {
      val (jar, root) = (assembly.value, (ThisBuild / baseDirectory).value)
      checkJar(jar, Seq(root / "LICENSE", root / "NOTICE"), shaded = "org/ctmahout/shaded/")
      jar
    },
    Compile / packageOptions += Package.ManifestAttributes(
      "Ctmahout-Version" -> version.value,
      "Ctmahout-Exchange-Version" -> exchangeVersion,
      "Ctmahout-Spark-Line" -> sparkLine(scalaBinaryVersion.value),
      "Ctmahout-Scala-Version" -> scalaVersion.value,
      "Ctmahout-Mahout-Version" -> mahoutVersion,
      "Ctmahout-Git-Commit" -> gitCommit
    ),
    assembly / packageOptions := (Compile / packageBin / packageOptions).value,
    Compile / packageBin / mainClass := Some("org.ctmahout.bridge.Main"),
    assembly / assemblyJarName := s"ctmahout-spark${sparkLine(scalaBinaryVersion.value)}_${scalaBinaryVersion.value}-${version.value}.jar",
    assembly / assemblyOption ~= { _.withIncludeScala(false) },
    assembly / test := {},
    // Another name keeps fastutil apart from what a cluster may carry.
    assembly / assemblyShadeRules := Seq(ShadeRule.rename("it.unimi.dsi.fastutil.**" -> "org.ctmahout.shaded.fastutil.@1").inAll),
    assembly / assemblyMergeStrategy := {
      case PathList("META-INF", "mahout", _*) => MergeStrategy.first
      case PathList("META-INF", "LICENSE" | "NOTICE") => MergeStrategy.first // of this project, which comes first
      // Of fastutil's many kinds of maps Mahout's core has two; the functions they are made of name each other.
      case PathList("org", "ctmahout", "shaded", "fastutil", path @ _*) if isMapNobodyUses(path.last) => MergeStrategy.discard
      case PathList("META-INF", "MANIFEST.MF") => MergeStrategy.discard
      case PathList("META-INF", "services", "org.apache.spark.sql.sources.DataSourceRegister") => MergeStrategy.first
      case PathList("META-INF", _*) => MergeStrategy.discard
      case PathList(name) if name.endsWith(".class") => MergeStrategy.discard // module-info
      case _ => MergeStrategy.deduplicate
    }
  )

// Of a map of fastutil's, by the name of its class.
def isMapNobodyUses(file: String): Boolean =
  file.matches("(Abstract)?[A-Z][a-z]+2.*") && !file.matches("[A-Z][a-z]+2[A-Z][a-z]+Function\\.class|(Abstract)?Int2(Double|Object)" +
    "(Function|Map|OpenHashMap|ArrayMap|Maps|Functions)(\\$.*)?\\.class")

// What must hold for the one jar of the wheel, looked up in the jar itself: our terms and Mahout's in META-INF, nothing loose at
// its top, no package but ours, Mahout's and those moved to ours, and every class that is named of packages that live here alone.
def checkJar(jar: File, terms: Seq[File], shaded: String): Unit = {
  import scala.collection.JavaConverters._
  val zip = new java.util.zip.ZipFile(jar)
  def bytes(name: String) = IO.readBytes(zip.getInputStream(zip.getEntry(name)))
  def require(fine: Boolean, what: => String): Unit = if (!fine) sys.error(s"$jar $what")
  try {
    val names = zip.entries.asScala.map(_.getName).toSet
    for (file <- terms; name = s"META-INF/${file.getName}")
      require(names(name) && bytes(name).sameElements(IO.readBytes(file)), s"lacks our own ${file.getName}")
    for (name <- Seq("LICENSE", "NOTICE", "changed-lines.txt").map("META-INF/mahout/" + _)) require(names(name), s"lacks $name")
    val foreign = names.filterNot(name => name.endsWith("/") || Seq("META-INF/", "org/ctmahout/", "ctmahout/ml/", "org/apache/mahout/").exists(name.startsWith(_)))
    require(foreign.isEmpty, s"has, beside our packages and Mahout's, ${foreign.take(3).mkString(", ")}")
    val missing = for {
      name <- names.toSeq.sorted if name.endsWith(".class")
      other <- classesNamedBy(bytes(name)) if other.startsWith(shaded) && !names(s"$other.class")
    } yield s"$other, which $name needs"
    require(names.exists(_.startsWith(shaded)) && missing.isEmpty, s"lacks ${missing.take(3).mkString("; ")}")
  } finally zip.close()
}

def classesNamedBy(bytes: Array[Byte]): Set[String] = {
  import org.objectweb.asm.{ClassReader, ClassVisitor, Opcodes}
  import org.objectweb.asm.commons.{ClassRemapper, Remapper}
  val found = scala.collection.mutable.Set.empty[String]
  val names = new Remapper { override def map(name: String): String = { found += name; name } }
  new ClassReader(bytes).accept(new ClassRemapper(new ClassVisitor(Opcodes.ASM9) {}, names), ClassReader.SKIP_DEBUG)
  found.toSet
}

// What `make bench` runs on the JVM. Not part of the whole, so that tests and wheels do without it.
lazy val bench = (project in file("bench/jvm"))
  .dependsOn(bridge)
  .settings(ours)
  .settings(
    name := "ctmahout-bench",
    publish / skip := true,
    libraryDependencies ++= Seq(spark("core").value, spark("sql").value)
  )

lazy val gitCommit: String =
  try scala.sys.process.Process("git rev-parse --short=12 HEAD").!!(scala.sys.process.ProcessLogger(_ => ())).trim
  catch { case _: RuntimeException | _: java.io.IOException => "unknown" }
