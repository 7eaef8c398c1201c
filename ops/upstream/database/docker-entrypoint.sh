#!/bin/bash
# Initialises an empty data directory from MARIADB_* and becomes the server. The interface is that
# of the published mariadb image (https://github.com/MariaDB/mariadb-docker); the code is ours.
#
# Initialisation is all or nothing: a marker file is written first and removed last. A start with
# the marker wipes the directory, which is safe: only an empty directory gets the marker.
set -euo pipefail

readonly DATA=/var/lib/mysql
readonly MARKER=$DATA/.initialising
readonly INIT_FILES=/docker-entrypoint-initdb.d
# Through the socket: no need to trust the certificate that the server may have.
readonly CLIENT=(mariadb --user=root --skip-ssl)

say() { printf '%s [entrypoint] %s\n' "$(date -u '+%F %T')" "$*" >&2; }
die() { say "error: $*"; exit 1; }

# setting NAME [default]: $MARIADB_NAME, else the content of the file $MARIADB_NAME_FILE, else the
# same with MYSQL_, else the default.
setting() {
    local prefix value file
    for prefix in MARIADB MYSQL; do
        value=${prefix}_$1
        file=${value}_FILE
        if [[ -n ${!value-} && -n ${!file-} ]]; then
            die "read $value: both it and $file are set; set one"
        elif [[ -n ${!value-} ]]; then
            printf '%s' "${!value}"
            return
        elif [[ -n ${!file-} ]]; then
            [[ -r ${!file} ]] || die "read $file: no readable file at ${!file}"
            printf '%s' "$(<"${!file}")"
            return
        fi
    done
    printf '%s' "${2-}"
}

# SQL string literal and SQL identifier of a value.
literal() { local v=${1//\\/\\\\}; printf "'%s'" "${v//\'/\\\'}"; }
# shellcheck disable=SC2016
identifier() { printf '`%s`' "${1//\`/\`\`}"; }

random_password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

contents() { find "$DATA" -mindepth 1 -maxdepth 1 ! -name lost+found ! -path "$MARKER" "$@"; }

wipe() { contents -exec rm -rf -- {} +; }

# Prints the statements that make the accounts and the database.
account_statements() {
    local user host pattern
    # literal() escapes with backslashes.
    echo "SET @@SESSION.SQL_MODE = REPLACE(@@SESSION.SQL_MODE, 'NO_BACKSLASH_ESCAPES', '');"
    # Replicas must not repeat this server's accounts.
    echo 'SET @@SESSION.SQL_LOG_BIN = 0;'
    # mariadb-install-db adds passwordless root accounts for this host's names.
    echo 'DELETE FROM global_priv WHERE (User, Host) NOT IN'
    echo "    (('root', 'localhost'), ('mariadb.sys', 'localhost'));"
    echo "DELETE FROM proxies_priv WHERE Host <> 'localhost';"
    echo 'FLUSH PRIVILEGES;'
    if [[ -n $DATABASE ]]; then
        echo "CREATE DATABASE IF NOT EXISTS $(identifier "$DATABASE");"
    fi
    if [[ -n $USER_NAME ]]; then
        user="$(literal "$USER_NAME")@'%'"
        echo "CREATE USER $user IDENTIFIED BY $(literal "$USER_PASSWORD");"
        if [[ -n $DATABASE ]]; then
            # _ and % in the name of a GRANT's database are wildcards.
            pattern=${DATABASE//_/\\_}
            echo "GRANT ALL ON $(identifier "${pattern//%/\\%}").* TO $user;"
        fi
    fi
    for host in localhost 127.0.0.1 ::1; do
        echo "CREATE USER healthcheck@'$host' IDENTIFIED BY $(literal "$HEALTH_PASSWORD");"
    done
    if [[ -n $ROOT_HOST && $ROOT_HOST != localhost ]]; then
        echo "CREATE USER root@$(literal "$ROOT_HOST") IDENTIFIED BY $(literal "$ROOT_PASSWORD");"
        echo "GRANT ALL ON *.* TO root@$(literal "$ROOT_HOST") WITH GRANT OPTION;"
    fi
    echo "SET PASSWORD FOR root@localhost = PASSWORD($(literal "$ROOT_PASSWORD"));"
}

run_init_files() {
    local file
    local -a client=("${CLIENT[@]}")
    if [[ -n $DATABASE ]]; then client+=("--database=$DATABASE"); fi
    export MYSQL_PWD=$ROOT_PASSWORD
    for file in "$INIT_FILES"/*; do
        case $file in
            *.sh)
                say "running $file"
                # As published: an executable runs by itself, anything else in this shell.
                # shellcheck source=/dev/null
                if [[ -x $file ]]; then "$file"; else . "$file"; fi ;;
            *.sql) say "running $file"; "${client[@]}" <"$file" ;;
            *.sql.gz) say "running $file"; gzip -dc "$file" | "${client[@]}" ;;
            "$INIT_FILES/*") ;;
            *) say "ignoring $file: neither .sh, .sql nor .sql.gz" ;;
        esac
    done
    unset MYSQL_PWD
}

initialise() {
    local server
    DATABASE=$(setting DATABASE)
    USER_NAME=$(setting USER)
    USER_PASSWORD=$(setting PASSWORD)
    ROOT_HOST=$(setting ROOT_HOST %)
    ROOT_PASSWORD=$(setting ROOT_PASSWORD)
    HEALTH_PASSWORD=$(random_password)

    if [[ -n $(setting RANDOM_ROOT_PASSWORD) ]]; then
        ROOT_PASSWORD=$(random_password)
        say "GENERATED ROOT PASSWORD: $ROOT_PASSWORD"
    elif [[ -z $ROOT_PASSWORD && -z $(setting ALLOW_EMPTY_ROOT_PASSWORD) ]]; then
        die 'initialise: no root password; set one of MARIADB_ROOT_PASSWORD (or _FILE),' \
            'MARIADB_RANDOM_ROOT_PASSWORD, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD'
    fi
    if [[ -n $USER_NAME && -z $USER_PASSWORD ]]; then
        die 'initialise: MARIADB_USER without MARIADB_PASSWORD (or _FILE)'
    fi

    touch "$MARKER"
    sync "$MARKER" "$DATA"

    say 'making the system tables'
    mariadb-install-db --datadir="$DATA" --auth-root-authentication-method=normal \
        --skip-test-db --skip-name-resolve \
        "$@" >/dev/null

    # No TCP: whoever waits for port 3306, the health check first of all, must not see this server.
    mariadbd "$@" --skip-networking --skip-log-bin &
    server=$!
    until "${CLIENT[@]}" --execute='DO 1' 2>/dev/null; do
        kill -0 "$server" 2>/dev/null || die 'initialise: the server stopped; its reason is above'
        sleep 0.2
    done

    account_statements | "${CLIENT[@]}" mysql
    (
        umask 077
        printf '[mariadb-client]\nuser=healthcheck\npassword=%s\n' "$HEALTH_PASSWORD" \
            >"$DATA/.my-healthcheck.cnf"
    )
    run_init_files

    kill -TERM "$server"
    wait "$server"
    sync --file-system "$DATA"
    rm "$MARKER"
    sync "$DATA"
    say 'initialised'
}

main() {
    if [[ ${1-} == -* ]]; then set -- mariadbd "$@"; fi
    if [[ ${1-} != mariadbd && ${1-} != mysqld ]]; then exec "$@"; fi

    if ((EUID == 0)); then
        chown mysql: /run/mysqld
        find "$DATA" ! -user mysql -exec chown mysql: {} +
        exec setpriv --reuid=mysql --regid=mysql --init-groups -- "${BASH_SOURCE[0]}" "$@"
    fi

    # As PID 1 an untrapped SIGTERM would do nothing until the server has taken over.
    trap 'exit 143' TERM INT

    if [[ -e $MARKER ]]; then
        say 'an earlier initialisation was interrupted; starting it afresh'
        wipe
        initialise "${@:2}"
    elif [[ ! -d $DATA/mysql ]]; then
        [[ -z $(contents) ]] || die "initialise: $DATA has files, no database; use an empty volume"
        initialise "${@:2}"
    fi
    exec "$@"
}

main "$@"
