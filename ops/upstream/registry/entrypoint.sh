#!/bin/sh
# As in the published image: a configuration file or a registry command runs the registry; anything
# else runs as it is.
set -eu

case "${1-}" in
    *.yaml | *.yml) set -- registry serve "$@" ;;
    serve | garbage-collect | help | -*) set -- registry "$@" ;;
esac
exec "$@"
