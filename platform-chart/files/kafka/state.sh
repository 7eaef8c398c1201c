#!/bin/bash
# state.sh ready         succeeds if the quorum has a leader, and this broker is part of the cluster
#                        and in sync with every partition that it stores
# state.sh wait SECONDS  before this broker stops: waits until all others are up and in sync, at
#                        most that long
#
# It asks the broker in Kafka's protocol, by the listener that only this pod reaches. Kafka's own
# commands would start a JVM: a second of CPU time every few seconds, on every broker.
#
# Variables of the pod: POD_NAME (node.id is its ordinal) and REPLICAS.
set -uo pipefail

readonly PORT=${LOCAL_PORT:-9095} NODE=${POD_NAME##*-} TIMEOUT=4

# A request is its length, api key, version, correlation id 1, no client id, and its own fields.
# In flexible versions a string follows its length + 1, and a structure ends with a number of tagged
# fields, here 0.
# DescribeQuorum (55) version 0 of partition 0 of __cluster_metadata.
readonly QUORUM='\0\0\0\x27\0\x37\0\0\0\0\0\x01\xff\xff\0'\
'\x02\x13__cluster_metadata\x02\0\0\0\0\0\0\0'
# Metadata (3) version 5 of all topics, without creating any.
readonly METADATA='\0\0\0\x0f\0\x03\0\x05\0\0\0\x01\xff\xff\xff\xff\xff\xff\0'

# ask REQUEST: sends it and prints the bytes of the response, one decimal number a line.
ask() {
    local -a length
    local size
    exec 3<>"/dev/tcp/127.0.0.1/$PORT" || return
    # The format is the request.
    # shellcheck disable=SC2059
    printf "$1" >&3 || return
    # Byte by byte: a buffer would take bytes that the next command needs.
    read -r -a length < <(timeout "$TIMEOUT" dd bs=1 count=4 <&3 2>/dev/null | od -An -v -tu1)
    ((${#length[@]} == 4)) || return
    size=$(((length[0] << 24) + (length[1] << 16) + (length[2] << 8) + length[3]))
    timeout "$TIMEOUT" head -c "$size" <&3 | od -An -v -tu1 | tr -s ' ' '\n'
    exec 3>&-
}

# Reads the response to QUORUM: correlation id, no tags, error, one topic, its name, one partition,
# its index, error, leader. Prints what is wrong.
leader() {
    awk '
        NF { byte[n++] = $1 }
        function int16(at) { return byte[at] * 256 + byte[at + 1] }
        END {
            if (n < 38 || int16(5) != 0) { print "the quorum does not answer"; exit 1 }
            if (int16(32) != 0 || byte[34] > 127) { print "the quorum has no leader"; exit 1 }
        }'
}

# cluster ready|leave: reads the response to METADATA. Prints what is wrong with this broker (ready)
# or with any other (leave).
cluster() {
    awk -v node="$NODE" -v replicas="$REPLICAS" -v check="$1" '
        NF { byte[n++] = $1 }
        function integer(size,   value, highest) {
            highest = 2 ^ (8 * size - 1)
            for (value = 0; size > 0; size--) value = value * 256 + byte[at++]
            return value < highest ? value : value - 2 * highest
        }
        function int16() { return integer(2) }
        function int32() { return integer(4) }
        function text(   length_, value) {
            length_ = int16()
            for (value = ""; length_ > 0; length_--) value = value sprintf("%c", byte[at++])
            return value
        }
        function wrong(what) { print what; bad = 1 }
        END {
            at = 4; int32()
            for (left = int32(); left > 0; left--) {
                alive[int32()] = 1; brokers++; text(); int32(); text()
            }
            text(); int32()
            if (brokers == 0) wrong("the broker knows no broker")
            else if (check == "ready" && !(node in alive))
                wrong("the cluster does not know this broker yet")
            else if (check == "leave" && brokers < replicas)
                wrong(brokers " of " replicas " brokers are up")
            for (topics = int32(); topics > 0; topics--) {
                int16(); name = text(); at++
                for (partitions = int32(); partitions > 0; partitions--) {
                    int16(); index_ = int32(); int32()
                    delete stored; delete insync
                    for (left = int32(); left > 0; left--) stored[int32()] = 1
                    for (left = int32(); left > 0; left--) insync[int32()] = 1
                    for (left = int32(); left > 0; left--) int32()
                    for (id in stored)
                        if (!(id in insync) && (check == "ready") == (id == node))
                            wrong("broker " id " is not in sync with partition " index_ " of " name)
                }
            }
            if (at != n) wrong("the response about the cluster cannot be read")
            exit bad
        }' | { head -n 3; cat >/dev/null; }
}

# check ready|leave: prints what is wrong, and fails if anything is.
check() {
    local wrong
    wrong=$(ask "$QUORUM" 2>/dev/null | leader) &&
        wrong=$(ask "$METADATA" 2>/dev/null | cluster "$1")
    local status=$?
    [[ -z $wrong ]] || echo "$wrong"
    return "$status"
}

case ${1-} in
    ready) check ready ;;
    wait)
        # Nobody sees a hook's output, so it goes to the container's.
        until wrong=$(check leave); do
            if ((SECONDS >= $2)); then
                echo "kafka: stopping after $2 s although: $wrong" >"${OUTPUT:-/proc/1/fd/1}"
                break
            fi
            sleep 1
        done ;;
    *)
        echo 'usage: state.sh ready | wait SECONDS' >&2
        exit 2 ;;
esac
