#!/bin/bash
# Brings the topics to what /etc/kafka/chart/topics says, and does nothing when they are so already. Makes those that are missing,
# adds partitions, sets their configuration. Never removes anything, and only says so where partitions or copies would have to be.
#
# Lines of the file: `minimum COPIES` (the brokers' default of min.insync.replicas), `topic NAME PARTITIONS COPIES`, and for each
# topic `set NAME KEY=VALUE`.
#
# From the pod: BOOTSTRAP (host:port), WAIT in seconds, and with authentication or TLS the variables of client().
set -euo pipefail

readonly BIN=/opt/kafka/bin CLIENT=/run/kafka/client.properties WANTED=/etc/kafka/chart/topics

say() { echo "topics: $*"; }

client() {
    umask 077
    {
        echo "security.protocol=$PROTOCOL"
        if [[ $PROTOCOL == SASL_* ]]; then
            echo 'sasl.mechanism=SCRAM-SHA-512'
            echo "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required" \
                "username=\"broker\" password=\"$BROKER_PASSWORD\";"
        fi
        if [[ $PROTOCOL == *SSL ]]; then
            echo 'ssl.truststore.type=PEM'
            echo 'ssl.truststore.location=/etc/platform/kafka/ca.crt'
        fi
    } >"$CLIENT"
}

# The Service has no broker before one is ready. A JVM that tries meanwhile would only keep the brokers from starting.
wait_for_brokers() {
    # An address that is gone swallows packets for minutes.
    until timeout 3 bash -c "exec 3<>/dev/tcp/${BOOTSTRAP%:*}/${BOOTSTRAP##*:}" 2>/dev/null; do
        if ((SECONDS >= WAIT)); then
            say "no broker answers at $BOOTSTRAP after $WAIT s; look at the pods of Kafka. This is tried again." >&2
            exit 1
        fi
        sleep 2
    done
}

kafka_topics() { "$BIN/kafka-topics.sh" --bootstrap-server "$BOOTSTRAP" --command-config "$CLIENT" "$@"; }

kafka_configs() { "$BIN/kafka-configs.sh" --bootstrap-server "$BOOTSTRAP" --command-config "$CLIENT" --alter "$@"; }

# Kafka notes it in the metadata when the cluster is made, and from then on does not read it from the brokers' configuration.
minimum() {
    local current
    current=$("$BIN/kafka-configs.sh" --bootstrap-server "$BOOTSTRAP" --command-config "$CLIENT" \
        --describe --entity-type brokers --entity-default)
    if ! grep -q "^ *min.insync.replicas=$1 " <<<"$current"; then
        say "min.insync.replicas=$1 for all brokers"
        kafka_configs --entity-type brokers --entity-default --add-config "min.insync.replicas=$1"
    fi
}

# topic NAME PARTITIONS COPIES
topic() {
    local line settings partitions copies setting
    settings=$(awk -v name="$1" '$1 == "set" && $2 == name {print $3}' "$WANTED")
    line=$(awk -F '\t' -v name="Topic: $1" '$1 == name && /PartitionCount/' <<<"$EXISTING")
    if [[ -z $line ]]; then
        local -a options=()
        for setting in $settings; do options+=(--config "$setting"); done
        say "making $1: $2 partitions, $3 copies"
        # Somebody may be faster, the worker for one; then the next line sees to the rest.
        kafka_topics --create --if-not-exists --topic "$1" --partitions "$2" --replication-factor "$3" "${options[@]}"
        line=$(kafka_topics --describe --topic "$1" | grep PartitionCount)
    fi
    partitions=$(sed -E 's/.*PartitionCount: ([0-9]+).*/\1/' <<<"$line")
    copies=$(sed -E 's/.*ReplicationFactor: ([0-9]+).*/\1/' <<<"$line")
    if ((partitions < $2)); then
        say "$1: $partitions partitions become $2"
        kafka_topics --alter --topic "$1" --partitions "$2"
    elif ((partitions > $2)); then
        say "$1 keeps its $partitions partitions: Kafka can only add some, and $2 are wanted"
    fi
    if ((copies != $3)); then
        say "$1 keeps its $copies copies, and $3 are wanted: move them with kafka-reassign-partitions.sh"
    fi
    for setting in $settings; do
        if [[ ",${line##*Configs: }," != *",$setting,"* ]]; then
            say "$1: $setting"
            # In brackets a value may have commas.
            kafka_configs --entity-type topics --entity-name "$1" --add-config "${setting%%=*}=[${setting#*=}]"
        fi
    done
}

client
wait_for_brokers
EXISTING=$(kafka_topics --describe)
while read -r what name partitions copies <&4; do
    case $what in
        minimum) minimum "$name" ;;
        topic) topic "$name" "$partitions" "$copies" ;;
    esac
done 4<"$WANTED"
say 'as wanted'
