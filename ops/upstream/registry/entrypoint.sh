#!/bin/sh
# As in the published image: a configuration file or a registry command may be given alone; anything else runs as it is.
set -eu

case "${1-}" in
    *.yaml | *.yml) set -- registry serve "$@" ;;
    serve | garbage-collect | help | -*) set -- registry "$@" ;;
esac
exec "$@"
