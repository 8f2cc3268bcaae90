// Spark's own netlib comes with spark-mllib, which the bridge does not need: tests get it as a cluster's JVM would have it.
libraryDependencies += "dev.ludovic.netlib" % "blas" % "3.0.3" % Provided
