#!/bin/bash
# Applies /etc/kafka/chart/topics: creates missing topics, adds partitions and sets configuration.
# Changes nothing that is up to date and removes nothing: it reports superfluous partitions, and a
# different number of copies.
#
# Lines of the file: `minimum COPIES` (the brokers' default of min.insync.replicas),
# `topic NAME PARTITIONS COPIES`, and for each topic `set NAME KEY=VALUE`.
#
# Variables of the pod: BOOTSTRAP (host:port), WAIT in seconds, PROTOCOL, and with authentication
# BROKER_PASSWORD.
set -euo pipefail

readonly BIN=/opt/kafka/bin CLIENT=/run/kafka/client.properties FILE=/etc/kafka/chart/topics
readonly SCRAM=org.apache.kafka.common.security.scram.ScramLoginModule

say() { echo "topics: $*"; }

client() {
    umask 077
    {
        echo "security.protocol=$PROTOCOL"
        if [[ $PROTOCOL == SASL_* ]]; then
            echo 'sasl.mechanism=SCRAM-SHA-512'
            echo "sasl.jaas.config=$SCRAM required" \
                "username=\"broker\" password=\"$BROKER_PASSWORD\";"
        fi
        if [[ $PROTOCOL == *SSL ]]; then
            echo 'ssl.truststore.type=PEM'
            echo 'ssl.truststore.location=/etc/platform/kafka/ca.crt'
        fi
    } >"$CLIENT"
}

# Until a broker is ready, the Service has no endpoint, and a JVM would slow the brokers down.
wait_for_brokers() {
    # Packets to a removed address are dropped for minutes.
    until timeout 3 bash -c "exec 3<>/dev/tcp/${BOOTSTRAP%:*}/${BOOTSTRAP##*:}" 2>/dev/null; do
        if ((SECONDS >= WAIT)); then
            say "no broker answers at $BOOTSTRAP after $WAIT s; check Kafka's pods (will retry)" >&2
            exit 1
        fi
        sleep 2
    done
}

# kafka topics|configs OPTIONS
kafka() {
    "$BIN/kafka-$1.sh" --bootstrap-server "$BOOTSTRAP" --command-config "$CLIENT" "${@:2}"
}

# A new cluster copies this setting into its metadata, and ignores the brokers' files later.
minimum() {
    local current
    current=$(kafka configs --describe --entity-type brokers --entity-default)
    if ! grep -q "^ *min.insync.replicas=$1 " <<<"$current"; then
        say "min.insync.replicas=$1 for all brokers"
        kafka configs --alter --entity-type brokers --entity-default \
            --add-config "min.insync.replicas=$1"
    fi
}

# topic NAME PARTITIONS COPIES
topic() {
    local line settings partitions copies setting
    settings=$(awk -v name="$1" '$1 == "set" && $2 == name {print $3}' "$FILE")
    line=$(awk -F '\t' -v name="Topic: $1" '$1 == name && /PartitionCount/' <<<"$EXISTING")
    if [[ -z $line ]]; then
        local -a options=()
        for setting in $settings; do options+=(--config "$setting"); done
        say "creating $1: $2 partitions, $3 copies"
        # async-worker may have created it meanwhile; then the rest is changed below.
        kafka topics --create --if-not-exists --topic "$1" --partitions "$2" \
            --replication-factor "$3" "${options[@]}"
        line=$(kafka topics --describe --topic "$1" | grep PartitionCount)
    fi
    partitions=$(sed -E 's/.*PartitionCount: ([0-9]+).*/\1/' <<<"$line")
    copies=$(sed -E 's/.*ReplicationFactor: ([0-9]+).*/\1/' <<<"$line")
    if ((partitions < $2)); then
        say "$1: $partitions partitions become $2"
        kafka topics --alter --topic "$1" --partitions "$2"
    elif ((partitions > $2)); then
        say "$1 keeps $partitions partitions, $2 requested: Kafka can only add partitions"
    fi
    if ((copies != $3)); then
        say "$1 keeps $copies copies, $3 requested: change them by kafka-reassign-partitions.sh"
    fi
    for setting in $settings; do
        if [[ ",${line##*Configs: }," != *",$setting,"* ]]; then
            say "$1: $setting"
            # In brackets a value may have commas.
            kafka configs --alter --entity-type topics --entity-name "$1" \
                --add-config "${setting%%=*}=[${setting#*=}]"
        fi
    done
}

client
wait_for_brokers
EXISTING=$(kafka topics --describe)
while read -r keyword name partitions copies <&4; do
    case $keyword in
        minimum) minimum "$name" ;;
        topic) topic "$name" "$partitions" "$copies" ;;
    esac
done 4<"$FILE"
say 'up to date'
