#!/bin/bash
# kafka-run-class.sh CLASS [ARGUMENT...]: becomes a JVM that runs CLASS with Kafka's class path. It
# takes the variables of Kafka's own script: KAFKA_HEAP_OPTS, KAFKA_JVM_PERFORMANCE_OPTS,
# KAFKA_LOG4J_OPTS, KAFKA_GC_LOG_OPTS, KAFKA_JMX_OPTS, JMX_PORT, KAFKA_OPTS, LOG_DIR and CLASSPATH.
set -euo pipefail

if (($# == 0)); then
    echo "usage: $0 CLASS [ARGUMENT...]" >&2
    exit 1
fi

readonly HOME_DIR=/opt/kafka

heap=${KAFKA_HEAP_OPTS:--Xmx256M}
performance=${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
-XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent}
log4j=${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$HOME_DIR/config/tools-log4j2.yaml}
jmx=${KAFKA_JMX_OPTS-}
if [[ -n ${JMX_PORT-} ]]; then
    jmx=${jmx:--Dcom.sun.management.jmxremote.authenticate=false \
-Dcom.sun.management.jmxremote.ssl=false}
    jmx+=" -Dcom.sun.management.jmxremote.port=$JMX_PORT"
fi

# The archive of loaded classes halves the start time. It needs this class path: other jars follow.
class_path=$(<"$HOME_DIR/class-path")${CLASSPATH:+:$CLASSPATH}

# Each variable has several options: the shell must split them.
# shellcheck disable=SC2086
exec "${JAVA_HOME:-/opt/java/openjdk}/bin/java" -server \
    -XX:SharedArchiveFile="$HOME_DIR/kafka.jsa" \
    $heap $performance ${KAFKA_GC_LOG_OPTS-} $jmx -Djava.awt.headless=true \
    -Dkafka.logs.dir="${LOG_DIR:-$HOME_DIR/logs}" $log4j -cp "$class_path" ${KAFKA_OPTS-} "$@"
