#!/bin/bash
# healthcheck.sh [--connect] [--innodb_initialized]: exit 0 when every test named holds.
#
# All tests go over TCP, which the server that runs during the first initialisation does not offer.
set -euo pipefail

readonly CREDENTIALS=/var/lib/mysql/.my-healthcheck.cnf

sql() {
    mariadb --defaults-file="$CREDENTIALS" --host=127.0.0.1 --protocol=tcp --connect-timeout=3 \
        --skip-ssl-verify-server-cert --skip-column-names --batch --execute="$1"
}

connect() { [[ $(sql 'SELECT 1') == 1 ]]; }

innodb_initialized() {
    [[ $(sql "SELECT 1 FROM information_schema.ENGINES
        WHERE engine = 'innodb' AND support IN ('YES', 'DEFAULT')") == 1 ]]
}

if (($# == 0)); then
    echo 'healthcheck.sh: name at least one of --connect, --innodb_initialized' >&2
    exit 1
fi
for test in "$@"; do
    case $test in
        --connect) connect ;;
        --innodb_initialized) innodb_initialized ;;
        *)
            echo "healthcheck.sh: unknown test $test; use --connect or --innodb_initialized" >&2
            exit 1 ;;
    esac
done
