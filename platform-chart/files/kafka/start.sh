#!/bin/bash
# Starts this pod's broker: adds secrets and what differs between pods to the configuration, formats
# new storage and runs Kafka. Writes only to /run/kafka, /tmp and the data volume.
#
# Variables of the pod: POD_NAME, DOMAIN (of the brokers' host names), CLUSTER_ID, HEAP_PERCENTAGE
# (of the container's memory). With authentication: AUTH=true, CLIENT_USERNAME, CLIENT_PASSWORD,
# BROKER_PASSWORD, CONTROLLER_PASSWORD. With TLS, /etc/kafka/tls has tls.crt, tls.key and ca.crt.
set -euo pipefail

readonly CHART=/etc/kafka/chart RUN=/run/kafka DATA=/var/lib/kafka/data/log
readonly PROPERTIES=$RUN/server.properties

die() {
    echo "kafka: start: $*" >&2
    exit 1
}

# A JAAS line, a properties file and an argument have the password, and quote in different ways.
check_password() {
    [[ ${!1-} =~ ^[A-Za-z0-9._~!@%^*+:=/-]+$ ]] ||
        die "the password in $1 is empty or has characters other than" \
            'A-Z a-z 0-9 . _ ~ ! @ % ^ * + : = / -'
}

# login LISTENER MECHANISM MODULE USER PASSWORD [OPTIONS]: the login of one listener to the others.
login() {
    echo "listener.name.$1.$2.sasl.jaas.config=org.apache.kafka.common.security.$3 required" \
        "username=\"$4\" password=\"$5\"${6-};"
}

authentication() {
    # Passwords are in the metadata, which controllers cannot read before they log in to each other.
    # So theirs are in the configuration.
    login controller plain plain.PlainLoginModule controller "$CONTROLLER_PASSWORD" \
        " user_controller=\"$CONTROLLER_PASSWORD\""
    login internal scram-sha-512 scram.ScramLoginModule broker "$BROKER_PASSWORD"
    login client scram-sha-512 scram.ScramLoginModule broker "$BROKER_PASSWORD"
}

# Prints a private key as PKCS #8, the only form that Kafka reads. Helm creates RSA keys in PKCS #1,
# which are the same bytes without three headers.
private_key() {
    local der
    case $(head -n 1 "$1") in
        '-----BEGIN PRIVATE KEY-----') cat "$1" ;;
        '-----BEGIN RSA PRIVATE KEY-----')
            der=$(grep -v -e '-----' "$1" | base64 -d | od -An -v -tx1 | tr -d ' \n')
            # A SEQUENCE of INTEGER 0, SEQUENCE {OBJECT IDENTIFIER rsaEncryption, NULL} and
            # OCTET STRING {the key}.
            der=020100300d06092a864886f70d0101010500$(tagged 04 "$der")
            der=$(tagged 30 "$der")
            echo '-----BEGIN PRIVATE KEY-----'
            # The format consists of escapes; only the newest shells can create them without sed.
            # shellcheck disable=SC2001,SC2059
            printf "$(sed 's/../\\x&/g' <<<"$der")" | base64
            echo '-----END PRIVATE KEY-----' ;;
        *)
            die "$1 is neither a PKCS #8 nor an RSA private key;" \
                'convert it: openssl pkcs8 -topk8 -nocrypt' ;;
    esac
}

# tagged TAG HEX: the bytes after DER's tag and a length of two bytes, as keys of 2048 bits need.
tagged() { printf '%s82%04x%s' "$1" $((${#2} / 2)) "$2"; }

formatted() { [[ -f $DATA/meta.properties ]]; }

format() {
    local -a users=()
    if [[ ${AUTH-} == true ]]; then
        # Brokers log in to each other at once, so their password must be in the first metadata.
        users=(--add-scram "SCRAM-SHA-512=[name=broker,password=$BROKER_PASSWORD]"
            --add-scram "SCRAM-SHA-512=[name=$CLIENT_USERNAME,password=$CLIENT_PASSWORD]")
    fi
    KAFKA_HEAP_OPTS=-Xmx128M /opt/kafka/bin/kafka-storage.sh format --ignore-formatted \
        --cluster-id "$CLUSTER_ID" --config "$PROPERTIES" "${users[@]}"
}

main() {
    local host=$POD_NAME.$DOMAIN heap=$HEAP_PERCENTAGE password
    umask 077
    {
        cat "$CHART/server.properties"
        echo "node.id=${POD_NAME##*-}"
        printf 'advertised.listeners=CLIENT://%s:9092,CONTROLLER://%s:9093,INTERNAL://%s:9094,' \
            "$host" "$host" "$host"
        echo 'LOCAL://localhost:9095'
        if [[ ${AUTH-} == true ]]; then
            for password in CLIENT_PASSWORD BROKER_PASSWORD CONTROLLER_PASSWORD; do
                check_password "$password"
            done
            authentication
        fi
    } >"$PROPERTIES"
    if [[ -d /etc/kafka/tls ]]; then
        { private_key /etc/kafka/tls/tls.key && cat /etc/kafka/tls/tls.crt; } >"$RUN/keystore.pem"
    fi
    # Formatting starts a JVM. It writes the file that `formatted` looks for last.
    formatted || format
    # Not in the pod's environment, which Kafka's commands read too.
    KAFKA_HEAP_OPTS="-XX:InitialRAMPercentage=$heap -XX:MaxRAMPercentage=$heap"
    export KAFKA_HEAP_OPTS="$KAFKA_HEAP_OPTS -XX:+ExitOnOutOfMemoryError"
    export KAFKA_LOG4J_OPTS=-Dlog4j2.configurationFile=$CHART/log4j2.yaml
    exec /opt/kafka/bin/kafka-server-start.sh "$PROPERTIES"
}

main
