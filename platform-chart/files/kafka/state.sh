#!/bin/bash
# state.sh ready         exit 0 while this broker is fit to serve: the quorum has a leader, this broker takes part in the cluster, and
#                        it is in sync with every partition that it keeps
# state.sh wait SECONDS  before this broker leaves: wait until all the others are there and in sync, at most that long
#
# It asks the broker beside it in Kafka's own protocol, over the listener that only this pod can reach. Kafka's commands would answer
# the same, but each starts a JVM: a second of processor time, every few seconds, on every broker.
#
# From the pod: POD_NAME (node.id is its ordinal) and REPLICAS.
set -uo pipefail

readonly PORT=${LOCAL_PORT:-9095} NODE=${POD_NAME##*-} PATIENCE=4

# Requests are [length, api key, version, correlation id 1, no client id] and what is asked; strings of flexible versions have their
# length + 1 before them, and each structure ends with a count of tagged fields (0).
# DescribeQuorum (55) version 0 of the partition 0 of __cluster_metadata.
readonly QUORUM='\0\0\0\x27\0\x37\0\0\0\0\0\x01\xff\xff\0\x02\x13__cluster_metadata\x02\0\0\0\0\0\0\0'
# Metadata (3) version 5 of all topics, making none.
readonly METADATA='\0\0\0\x0f\0\x03\0\x05\0\0\0\x01\xff\xff\xff\xff\xff\xff\0'

# Sends a request and prints the bytes of the response, one decimal number a line.
ask() {
    local -a length
    exec 3<>"/dev/tcp/127.0.0.1/$PORT" || return
    # The format is the request.
    # shellcheck disable=SC2059
    printf "$1" >&3 || return
    # Byte by byte, so that nothing of what follows is lost in a buffer.
    read -r -a length < <(timeout "$PATIENCE" dd bs=1 count=4 <&3 2>/dev/null | od -An -v -tu1)
    ((${#length[@]} == 4)) || return
    timeout "$PATIENCE" head -c "$(((length[0] << 24) + (length[1] << 16) + (length[2] << 8) + length[3]))" <&3 | od -An -v -tu1 | tr -s ' ' '\n'
    exec 3>&-
}

# Reads the answer to QUORUM: correlation id, no tags, error, one topic, its name, one partition, its index, error, leader.
leader() {
    awk '
        NF { byte[n++] = $1 }
        function int16(at) { return byte[at] * 256 + byte[at + 1] }
        END {
            if (n < 38 || int16(5) != 0) { print "the quorum does not answer"; exit 1 }
            if (int16(32) != 0 || byte[34] > 127) { print "the quorum has no leader"; exit 1 }
        }'
}

# Reads the answer to METADATA and prints what is wrong. check=ready: with this broker. check=leave: with any other.
cluster() {
    awk -v node="$NODE" -v replicas="$REPLICAS" -v check="$1" '
        NF { byte[n++] = $1 }
        function int16(   v) { v = byte[at] * 256 + byte[at + 1]; at += 2; return v > 32767 ? v - 65536 : v }
        function int32(   v) { v = ((byte[at] * 256 + byte[at + 1]) * 256 + byte[at + 2]) * 256 + byte[at + 3]; at += 4
                               return v > 2147483647 ? v - 4294967296 : v }
        function text(   length_, value) {
            length_ = int16()
            for (value = ""; length_ > 0; length_--) value = value sprintf("%c", byte[at++])
            return value
        }
        function wrong(what) { print what; bad = 1 }
        END {
            at = 4; int32()
            for (left = int32(); left > 0; left--) { alive[int32()] = 1; brokers++; text(); int32(); text() }
            text(); int32()
            if (brokers == 0) wrong("the broker knows of no broker")
            else if (check == "ready" && !(node in alive)) wrong("the cluster does not count on this broker yet")
            else if (check == "leave" && brokers < replicas) wrong(brokers " of " replicas " brokers are there")
            for (topics = int32(); topics > 0; topics--) {
                int16(); name = text(); at++
                for (partitions = int32(); partitions > 0; partitions--) {
                    int16(); index_ = int32(); int32()
                    delete kept; delete insync
                    for (left = int32(); left > 0; left--) kept[int32()] = 1
                    for (left = int32(); left > 0; left--) insync[int32()] = 1
                    for (left = int32(); left > 0; left--) int32()
                    for (id in kept)
                        if (!(id in insync) && (check == "ready") == (id == node))
                            wrong("broker " id " is not in sync with partition " index_ " of " name)
                }
            }
            if (at != n) wrong("the answer about the cluster cannot be read")
            exit bad
        }' | { head -n 3; cat >/dev/null; }
}

# look ready|leave: prints what is wrong, and fails when something is.
look() {
    local wrong
    wrong=$(ask "$QUORUM" 2>/dev/null | leader) && wrong=$(ask "$METADATA" 2>/dev/null | cluster "$1")
    local status=$?
    [[ -z $wrong ]] || echo "$wrong"
    return "$status"
}

case ${1-} in
    ready) look ready ;;
    wait)
        # A hook's own output goes nowhere: this is the container's.
        until wrong=$(look leave); do
            if ((SECONDS >= $2)); then
                echo "kafka: leaving though after $2 s still: $wrong" >"${OUTPUT:-/proc/1/fd/1}"
                break
            fi
            sleep 1
        done ;;
    *)
        echo 'usage: state.sh ready | wait SECONDS' >&2
        exit 2 ;;
esac
