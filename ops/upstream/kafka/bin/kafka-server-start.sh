#!/bin/bash
# kafka-server-start.sh SERVER_PROPERTIES [--override KEY=VALUE...]: becomes the broker.
set -euo pipefail

export KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G}
log4j=-Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml
export KAFKA_LOG4J_OPTS=${KAFKA_LOG4J_OPTS:-$log4j}
exec /opt/kafka/bin/kafka-run-class.sh kafka.Kafka "$@"
