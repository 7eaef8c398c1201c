#!/bin/bash
# Completes the tasks of `./run inv` and their flags, in bash and zsh:
# eval "$(./run inv --print-completion-script bash)"
# shellcheck shell=bash disable=SC2207  # bash 3 has no mapfile

[ -z "${ZSH_VERSION:-}" ] ||
    { autoload -U +X compinit bashcompinit && compinit -u && bashcompinit; }

_delivery_run() {
    local known='inv nox'
    if [ "$COMP_CWORD" -gt 1 ]; then
        [ "${COMP_WORDS[1]}" = inv ] || return 0
        known=$("${COMP_WORDS[0]}" inv --complete -- "${COMP_WORDS[@]:1:$COMP_CWORD}" 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$known" -- "${COMP_WORDS[COMP_CWORD]}"))
}

complete -o default -F _delivery_run run ./run
