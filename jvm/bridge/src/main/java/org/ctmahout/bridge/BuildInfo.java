package org.ctmahout.bridge;

import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.jar.Attributes;
import java.util.jar.Manifest;

/**
 * What this jar was built for, from its MANIFEST, and what it runs on.
 *
 * <p>Plain Java that links to neither Scala nor Spark (the engine is asked by reflection): in a JVM of the wrong Scala
 * line it must still be able to say so.
 */
public final class BuildInfo {
    private static final String UNKNOWN = "unknown";

    private BuildInfo() {}

    /** What was built: name, version, exchange, built_for_*, mahout, commit; what runs: spark, scala, java, blas. */
    public static Map<String, String> facts() {
        Map<String, String> facts = new LinkedHashMap<>();
        Attributes built = manifest();
        facts.put("name", "ctmahout");
        facts.put("version", attribute(built, "Ctmahout-Version"));
        facts.put("exchange", attribute(built, "Ctmahout-Exchange-Version"));
        facts.put("built_for_spark", attribute(built, "Ctmahout-Spark-Line"));
        facts.put("built_for_scala", attribute(built, "Ctmahout-Scala-Version"));
        facts.put("mahout", attribute(built, "Ctmahout-Mahout-Version"));
        facts.put("commit", attribute(built, "Ctmahout-Git-Commit"));
        // Resources, not classes: a class of the other Scala line may fail to load.
        facts.put("spark", property("spark-version-info.properties", "version"));
        facts.put("scala", property("library.properties", "version.number"));
        facts.put("java", System.getProperty("java.version", UNKNOWN));
        facts.put("blas", blas());
        return Collections.unmodifiableMap(facts);
    }

    /** The facts as one JSON object. */
    static String json() {
        StringBuilder json = new StringBuilder("{");
        facts().forEach((key, value) -> {
            if (json.length() > 1) json.append(", ");
            json.append(quoted(key)).append(": ").append(quoted(value));
        });
        return json.append("}").toString();
    }

    /**
     * Refuses another Spark or Scala line than the jar is built for, where nearly any call ends in a NoSuchMethodError that
     * means nothing to its reader. Spark 3.5 comes with Scala 2.13, too. The words are those of CTM_JAR_MISMATCH; the
     * catalogue's reader is Scala and cannot be asked.
     */
    public static void checkLine() {
        checkLine(facts());
    }

    static void checkLine(Map<String, String> facts) {
        String built = line(facts.get("built_for_scala"));
        String found = line(facts.get("scala"));
        boolean isScala = built.equals(found) || built.equals(UNKNOWN) || found.equals(UNKNOWN);
        String builtSpark = major(facts.get("built_for_spark"));
        String foundSpark = major(facts.get("spark"));
        boolean isSpark = builtSpark.equals(foundSpark) || builtSpark.equals(UNKNOWN) || foundSpark.equals(UNKNOWN);
        if (isScala && isSpark) return;
        throw new IllegalStateException(String.format(
                "[CTM_JAR_MISMATCH] %s is built for Spark %s (Scala %s), but this is Spark %s (Scala %s).",
                "The ctmahout jar",
                facts.get("built_for_spark"), built, facts.get("spark"), found));
    }

    /** 4 of 4.0.1. */
    private static String major(String version) {
        return version.split("\\.")[0];
    }

    /** 2.12 of 2.12.18. */
    private static String line(String version) {
        String[] parts = version.split("\\.");
        return parts.length < 2 ? version : parts[0] + "." + parts[1];
    }

    /** The main attributes of the jar that this class came from; empty where it came from a folder, as in tests. */
    private static Attributes manifest() {
        URL self = BuildInfo.class.getResource("BuildInfo.class");
        if (self == null || !"jar".equals(self.getProtocol())) return new Attributes();
        String text = self.toString();
        String at = text.substring(0, text.lastIndexOf('!') + 1) + "/META-INF/MANIFEST.MF";
        try (InputStream in = new URL(at).openStream()) {
            return new Manifest(in).getMainAttributes();
        } catch (IOException e) {
            return new Attributes();
        }
    }

    private static String attribute(Attributes attributes, String name) {
        String value = attributes.getValue(name);
        return value == null ? UNKNOWN : value;
    }

    private static String property(String resource, String key) {
        try (InputStream in = loader().getResourceAsStream(resource)) {
            if (in == null) return UNKNOWN;
            Properties properties = new Properties();
            properties.load(in);
            return properties.getProperty(key, UNKNOWN);
        } catch (IOException e) {
            return UNKNOWN;
        }
    }

    private static ClassLoader loader() {
        ClassLoader own = BuildInfo.class.getClassLoader();
        return own == null ? ClassLoader.getSystemClassLoader() : own;
    }

    /** What multiplies blocks on this JVM, as the engine chose it. */
    private static String blas() {
        try {
            return (String) Class.forName("org.ctmahout.samsara.Products").getMethod("blasName").invoke(null);
        } catch (ReflectiveOperationException | LinkageError e) {
            return UNKNOWN; // the wrong Scala line, or no netlib: version() answers all the same
        }
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') quoted.append('\\').append(c);
            else if (c < ' ') quoted.append(String.format("\\u%04x", (int) c));
            else quoted.append(c);
        }
        return quoted.append('"').toString();
    }
}
