#!/bin/sh
# Nothing in a container image starts services when its package is installed.
exit 101
