package org.ctmahout.bridge.dataframes;

import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SQLContext;
import org.apache.spark.sql.SaveMode;
import org.apache.spark.sql.sources.BaseRelation;
import org.apache.spark.sql.sources.CreatableRelationProvider;
import org.apache.spark.sql.sources.DataSourceRegister;
import org.apache.spark.sql.sources.RelationProvider;
import org.apache.spark.sql.types.DataType;
import org.ctmahout.bridge.BuildInfo;
import scala.collection.immutable.Map;

/**
 * The data source {@code ctmahout}: a DataFrame that is saved to it is decomposed, and its factors are loaded from it.
 *
 * <pre>{@code
 * df.write.format("ctmahout").option("columns", "[\"features\"]").option("k", 20).save("name")
 * spark.read.format("ctmahout").load("name")
 * }</pre>
 *
 * <p>A source, because that is what a client of Spark Connect can reach with nothing but Spark's own client. In Java, as
 * {@link org.ctmahout.bridge.Bridge} is: it has to load in a JVM of the wrong Scala line, to say that it is the wrong one.
 */
public final class DefaultSource implements RelationProvider, CreatableRelationProvider, DataSourceRegister {

    @Override
    public String shortName() {
        return "ctmahout";
    }

    /** Factors of a result, by its name. */
    @Override
    public BaseRelation createRelation(SQLContext context, Map<String, String> options) {
        BuildInfo.checkLine();
        return Source.load(context, options);
    }

    /**
     * Decomposes, and keeps the result in the session under its name. One of that name is replaced, whatever the mode. With
     * the option {@code request}, the JSON of contract/v1, what is decomposed are the matrices of a directory, and the factors
     * are written: what {@link org.ctmahout.bridge.Bridge#run} does, for clients that have no JVM.
     */
    @Override
    public BaseRelation createRelation(
            SQLContext context, SaveMode mode, Map<String, String> options, Dataset<Row> frame) {
        BuildInfo.checkLine();
        return Source.save(context, options, frame);
    }

    /** Columns that nobody asked for may be of any type. An override on Spark 4 only: 3.5 does not ask. */
    public boolean supportsDataType(DataType type) {
        return true;
    }
}
