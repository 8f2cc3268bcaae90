#!/bin/bash
# Spark on Kubernetes starts one image as its driver and as its executors, runners of MONAI Application Packages ask it for its
# manifests; anything else is a command.
set -euo pipefail

# Java has no home for a user without a name, and Hadoop refuses to start. A platform's own number has none, and the root
# may be read-only: where the base has libnss_wrapper, it gives one.
if ! getent passwd "$(id -u)" >/dev/null; then
    library=$(find /usr/lib /usr/lib64 -name libnss_wrapper.so -print -quit 2>/dev/null || true)
    if [[ -n $library ]]; then
        NSS_WRAPPER_PASSWD=$(mktemp)
        echo "spark:x:$(id -u):$(id -g):Spark:${HOME:-/tmp}:/bin/false" > "$NSS_WRAPPER_PASSWD"
        export LD_PRELOAD=$library NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP=/etc/group
    else
        echo "entrypoint: user $(id -u) has no name, and this image no libnss_wrapper to give it one: Spark will not start." >&2
    fi
fi

case "${1:-}" in
driver)
    shift
    # Spark copies its jar to where it runs. The root may be read-only, and Kubernetes gives Spark a folder of its own.
    if [[ ! -w . ]]; then
        folders=${SPARK_LOCAL_DIRS:-/tmp}
        cd "${folders%%,*}"
    fi
    exec "$SPARK_HOME/bin/spark-submit" \
        --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
        --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" \
        --deploy-mode client "$@"
    ;;
executor)
    # SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, ...: one option each, which may hold spaces.
    options=()
    for ((n = 0; ; n++)); do
        name="SPARK_JAVA_OPT_$n"
        [[ -n "${!name+set}" ]] || break
        options+=("${!name}")
    done
    # An empty entry would mean this folder to Java; it comes last, as in Spark's own image.
    classpath=("${SPARK_CONF_DIR:-$SPARK_HOME/conf}" "${HADOOP_CONF_DIR:-}" "${SPARK_CLASSPATH:-}" "$SPARK_HOME/jars/*"
        "${SPARK_EXTRA_CLASSPATH:-}" "${SPARK_DIST_CLASSPATH:-}" "$PWD")
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "${options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
        -cp "$(printf '%s\n' "${classpath[@]}" | grep . | paste -sd:)" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
show)
    exec cat /etc/holoscan/app.json /etc/holoscan/pkg.json
    ;;
export | extract)
    folder=/var/run/holoscan/export
    [[ ! -d $folder/config ]] || folder=$folder/config
    exec cp /etc/holoscan/app.json /etc/holoscan/pkg.json "$folder"
    ;;
*)
    exec "$@"
    ;;
esac
