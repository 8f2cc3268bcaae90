package org.ctmahout.bridge;

/**
 * The entry point of the JVM: strings in, strings out, for py4j, JPype and {@link Main}.
 *
 * <p>Plain Java without overloads, because omitted defaults, implicits and Scala types do not cross py4j; and because
 * {@link #version()} has to answer in a JVM of the wrong Scala line, to say that it is the wrong one.
 */
public final class Bridge {
    private Bridge() {}

    /**
     * Decomposes the matrices of a directory and writes the factors.
     *
     * @param requestJson the request of contract/v1
     * @return the manifest of the factors directory, in one line
     * @throws CtmahoutException whatever goes wrong; its message begins with the code, [CTM_...]
     */
    public static String run(String requestJson) {
        BuildInfo.checkLine();
        return Runs.run(requestJson);
    }

    /**
     * Stops every run in progress in this JVM: each throws CTM_INTERRUPTED and leaves no output. Returns at once, and
     * may be called from any thread, also when nothing runs.
     */
    public static void cancel() {
        Runs.cancelAll();
    }

    /** What this jar is and what it finds around it, as JSON. Touches no Scala class and starts no session. */
    public static String version() {
        return BuildInfo.json();
    }
}
