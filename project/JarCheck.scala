import java.util.zip.ZipFile

import scala.collection.JavaConverters._
import scala.collection.mutable

import org.objectweb.asm.{ClassReader, ClassVisitor, Opcodes}
import org.objectweb.asm.commons.{ClassRemapper, Remapper}
import sbt._

/** What must hold for the one jar of the wheel, looked up in the jar itself. */
object JarCheck {

  /**
   * @param terms
   *   files that must be in META-INF, as they are
   * @param shaded
   *   packages that live in the jar alone: whatever is named of them must be there
   */
  def apply(jar: File, terms: Seq[File], shaded: String): Unit = {
    val zip = new ZipFile(jar)
    def bytes(name: String) = IO.readBytes(zip.getInputStream(zip.getEntry(name)))
    try {
      val names = zip.entries.asScala.map(_.getName).toSet
      def require(fine: Boolean, what: String): Unit = if (!fine) sys.error(s"$jar $what")
      for (file <- terms; name = s"META-INF/${file.getName}")
        require(names(name) && bytes(name).sameElements(IO.readBytes(file)), s"lacks our own ${file.getName}")
      for (name <- Seq("META-INF/mahout/LICENSE", "META-INF/mahout/NOTICE")) require(names(name), s"lacks $name")
      val loose = names.filterNot(n => n.startsWith("META-INF/") || n.startsWith("org/") || n.startsWith("scala/") || n.endsWith("/"))
      require(loose.isEmpty, s"has at its top ${loose.mkString(", ")}")
      val missing = for {
        name <- names.filter(_.endsWith(".class"))
        other <- references(bytes(name))
        if other.startsWith(shaded) && !names(s"$other.class")
      } yield s"$other, which ${name.stripSuffix(".class")} needs"
      require(names.exists(_.startsWith(shaded)) && missing.isEmpty, s"lacks ${missing.toSeq.sorted.take(3).mkString("; ")}")
    } finally zip.close()
  }

  /** The classes that a class names. */
  private def references(bytes: Array[Byte]): Set[String] = {
    val found = mutable.Set.empty[String]
    val names = new Remapper { override def map(name: String): String = { found += name; name } }
    new ClassReader(bytes).accept(new ClassRemapper(new ClassVisitor(Opcodes.ASM9) {}, names), ClassReader.SKIP_DEBUG)
    found.toSet
  }
}
