#!/bin/bash
# Becomes this pod's broker: completes the configuration with what differs from pod to pod and with what is secret, formats storage
# that is new, and starts Kafka. Uses the commands of the image and nothing it would have to write outside of /run/kafka and /tmp.
#
# From the pod: POD_NAME, DOMAIN (what follows it in the brokers' names), CLUSTER_ID, HEAP_PERCENTAGE (of the container's memory), and
# with authentication AUTH=true, the passwords of three users and the name of the clients'. With TLS, /etc/kafka/tls holds tls.crt,
# tls.key and ca.crt.
set -euo pipefail

readonly CHART=/etc/kafka/chart RUN=/run/kafka DATA=/var/lib/kafka/data/log
readonly PROPERTIES=$RUN/server.properties

die() {
    echo "kafka: start: $*" >&2
    exit 1
}

# A password ends up in a JAAS line, in a properties file and in an argument of Kafka's, each with quoting rules of its own.
check_password() {
    [[ ${!1-} =~ ^[A-Za-z0-9._~!@%^*+:=/-]+$ ]] || die "the password in $1 is empty or has other characters than A-Z a-z 0-9 . _ ~ ! @ % ^ * + : = / -"
}

# login LISTENER MECHANISM MODULE USER PASSWORD [OPTIONS]: how a listener identifies itself to the others' listener of that name.
login() {
    echo "listener.name.$1.$2.sasl.jaas.config=org.apache.kafka.common.security.$3 required username=\"$4\" password=\"$5\"${6-};"
}

authentication() {
    # Controllers cannot look passwords up in the metadata that they first have to agree on: theirs are in the configuration.
    login controller plain plain.PlainLoginModule controller "$CONTROLLER_PASSWORD" " user_controller=\"$CONTROLLER_PASSWORD\""
    login internal scram-sha-512 scram.ScramLoginModule broker "$BROKER_PASSWORD"
    login client scram-sha-512 scram.ScramLoginModule broker "$BROKER_PASSWORD"
}

# Prints a private key as PKCS #8, which is all that Kafka reads. Helm makes RSA keys in PKCS #1: their bytes, with three headers before.
private_key() {
    local der
    case $(head -n 1 "$1") in
        '-----BEGIN PRIVATE KEY-----') cat "$1" ;;
        '-----BEGIN RSA PRIVATE KEY-----')
            der=$(grep -v -e '-----' "$1" | base64 -d | od -An -v -tx1 | tr -d ' \n')
            # INTEGER 0, SEQUENCE {OBJECT IDENTIFIER rsaEncryption, NULL}, OCTET STRING {the key}, all in a SEQUENCE.
            der=020100300d06092a864886f70d0101010500$(tagged 04 "$der")
            der=$(tagged 30 "$der")
            echo '-----BEGIN PRIVATE KEY-----'
            # The format is made of escapes; only the newest shells can make them without sed.
            # shellcheck disable=SC2001,SC2059
            printf "$(sed 's/../\\x&/g' <<<"$der")" | base64
            echo '-----END PRIVATE KEY-----' ;;
        *) die "$1 is neither a PKCS #8 nor an RSA private key; convert it: openssl pkcs8 -topk8 -nocrypt" ;;
    esac
}

# tagged TAG HEX: DER's tag and length before the bytes; a key of 2048 bits or more needs a length of two bytes.
tagged() { printf '%s82%04x%s' "$1" $((${#2} / 2)) "$2"; }

formatted() { [[ -f $DATA/meta.properties ]]; }

format() {
    local -a users=()
    if [[ ${AUTH-} == true ]]; then
        # Brokers log in to each other from the first moment on: their password has to be in the metadata from the first record on.
        users=(--add-scram "SCRAM-SHA-512=[name=broker,password=$BROKER_PASSWORD]"
            --add-scram "SCRAM-SHA-512=[name=$CLIENT_USERNAME,password=$CLIENT_PASSWORD]")
    fi
    KAFKA_HEAP_OPTS=-Xmx128M /opt/kafka/bin/kafka-storage.sh format --ignore-formatted --cluster-id "$CLUSTER_ID" \
        --config "$PROPERTIES" "${users[@]}"
}

main() {
    local host=$POD_NAME.$DOMAIN
    umask 077
    {
        cat "$CHART/server.properties"
        echo "node.id=${POD_NAME##*-}"
        echo "advertised.listeners=CLIENT://$host:9092,CONTROLLER://$host:9093,INTERNAL://$host:9094,LOCAL://localhost:9095"
        if [[ ${AUTH-} == true ]]; then
            for password in CLIENT_PASSWORD BROKER_PASSWORD CONTROLLER_PASSWORD; do check_password "$password"; done
            authentication
        fi
    } >"$PROPERTIES"
    if [[ -d /etc/kafka/tls ]]; then
        { private_key /etc/kafka/tls/tls.key && cat /etc/kafka/tls/tls.crt; } >"$RUN/keystore.pem"
    fi
    # Formatting costs a JVM; what it did is done when this file is there, for it is written last.
    formatted || format
    # Not in the pod's environment, where Kafka's commands would take them too.
    export KAFKA_HEAP_OPTS="-XX:InitialRAMPercentage=$HEAP_PERCENTAGE -XX:MaxRAMPercentage=$HEAP_PERCENTAGE -XX:+ExitOnOutOfMemoryError"
    export KAFKA_LOG4J_OPTS=-Dlog4j2.configurationFile=$CHART/log4j2.yaml
    exec /opt/kafka/bin/kafka-server-start.sh "$PROPERTIES"
}

main
