# The laboratory's processes and its end: every process is started here, known by
# its pid, and stopped by that pid. Sourced by scripts/lab.
# shellcheck shell=bash

# The names of what was started, in that order.
lab_spawned=()

lab_say() { echo "lab: $*" >&2; }

lab_die() {
    lab_say "$*"
    exit 1
}

# lab_in NODE COMMAND...: run it in the node's network namespace. nsenter rather
# than `ip netns exec`, which must mount a sysfs and may not in a user namespace.
lab_in() {
    nsenter --net="/run/netns/$(lab_namespace "$1")" -- "${@:2}"
}

# lab_spawn NAME NODE COMMAND...: start it in the background, its output in
# NAME.log, its pid in NAME.pid. Out of the terminal's session, so that Ctrl-C ends
# this shell, which then ends everything in order; if this shell is killed, the
# kernel ends the process too.
lab_spawn() {
    local name=$1 node=$2
    setsid nsenter --net="/run/netns/$(lab_namespace "$node")" -- \
        setpriv --pdeathsig TERM "${@:3}" >"$lab_dir/$name.log" 2>&1 </dev/null &
    echo $! >"$lab_dir/$name.pid"
    lab_spawned+=("$name")
}

# lab_owns PID: it is this shell's own child. When a child has ended, the kernel
# may give its number to a stranger, who must never be signalled.
lab_owns() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [[ $1 != Z && $2 -eq $$ ]]
}

# lab_alive NAME
lab_alive() {
    [[ -f $lab_dir/$1.pid ]] && lab_owns "$(<"$lab_dir/$1.pid")"
}

# lab_stop NAME: TERM, ten seconds later KILL; returns the process's exit status.
lab_stop() {
    local file=$lab_dir/$1.pid pid turn
    [[ -f $file ]] || return 0
    pid=$(<"$file")
    for ((turn = 0; turn < 200; turn++)); do
        lab_owns "$pid" || break
        # Again every two seconds: one that has just been forked may lose a signal.
        ((turn % 40 != 0)) || kill -TERM "$pid" 2>/dev/null
        sleep 0.05
    done
    if lab_owns "$pid"; then
        lab_say "$1 did not stop within 10 s and was killed"
        kill -KILL "$pid" 2>/dev/null
    fi
    rm -f "$file"
    wait "$pid" 2>/dev/null
}

# lab_wait_for SECONDS COMMAND...: until it succeeds; fails when the time is over.
lab_wait_for() {
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

# lab_run COMMAND...: a long command that a signal may interrupt, as a foreground
# one cannot: bash runs a trap only when the foreground command has ended.
lab_run() {
    "$@" &
    local pid=$! status=0
    lab_long=$pid
    wait "$pid" || status=$?
    lab_long=
    return "$status"
}

# Arrange that the laboratory ends with this shell, however the shell ends.
lab_guard() {
    trap lab_end EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Undo everything. May be called at any moment and more than once.
lab_end() {
    local status=$? last
    trap '' HUP INT TERM
    trap - EXIT
    set +e
    [[ -n ${lab_long:-} ]] && lab_owns "$lab_long" && kill -TERM "$lab_long" 2>/dev/null
    if [[ -n ${lab_dir:-} && -d $lab_dir ]]; then
        # Clients before what serves them, or they would wait for answers.
        for ((last = ${#lab_spawned[@]} - 1; last >= 0; last--)); do lab_stop "${lab_spawned[last]}"; done
        lab_take_down
        rm -rf "$lab_dir"
    fi
    exit "$status"
}

# Without a terminal or a pipe to read from, only a signal ends the wait.
lab_wait_for_enter() {
    read -rp "Enter takes it down. " || lab_run sleep infinity
}
