#!/bin/sh
# As in the published image: options or the command `haproxy` run it in master-worker mode, where
# SIGUSR2 reloads; anything else runs as it is.
set -eu

case "${1-}" in
    haproxy) shift ;;
    -*) ;;
    *) exec "$@" ;;
esac
exec haproxy -W -db "$@"
