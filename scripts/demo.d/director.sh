# The director under demonstration. Sourced by scripts/demo.
# shellcheck shell=bash

# director SUBCOMMAND...: ask the running one.
director() { "$binary" "$1" --socket "$socket" "${@:2}"; }

# Two cores that this shell may run on: the first for control, the last to poll.
find_cores() {
    read -r main_core polling_core < <(python3 -c 'import os; c = os.sched_getaffinity(0); print(min(c), max(c))')
    [[ $main_core != "$polling_core" ]] ||
        lab_die "two processor cores are needed, one to poll the port and one for everything else; here is only core $main_core"
}

# A copy of conf/demo.yaml with what is this laboratory's own.
write_configuration() {
    socket=$lab_dir/director.sock
    configuration=$lab_dir/demo.yaml
    sed -e "s|/run/director.sock|$socket|" -e "s|net_af_packet0|${driver}0|" \
        -e "s|cores: \[1\]|cores: [$polling_core]|" -e "s|^main_core: 0|main_core: $main_core|" \
        "$lab_home/../conf/demo.yaml" >"$configuration"
}

# DPDK keeps its run-time files in RUNTIME_DIRECTORY, so two never meet.
start_director() {
    mkdir "$lab_dir/run"
    RUNTIME_DIRECTORY=$lab_dir/run lab_spawn director director "$binary" run -c "$configuration"
    lab_wait_for 30 director_answers || {
        tail -n 30 "$lab_dir/director.log" >&2
        lab_die "the director did not answer on its control socket within 30 s; the end of its log is above"
    }
}

director_answers() {
    lab_alive director || {
        tail -n 30 "$lab_dir/director.log" >&2
        lab_die "the director stopped; the end of its log is above"
    }
    director status >/dev/null 2>&1
}

# The running snapshot's number, or nothing if the director does not answer.
generation() {
    director status 2>/dev/null | grep -ioE 'generation[^0-9]*[0-9]+' | grep -oE -m 1 '[0-9]+$' || true
}

generation_is_past() {
    local now
    now=$(generation)
    [[ -n $now && $now != "$1" ]]
}

# edit SERVICE CHANGE...: change the file as an editor does, and wait until the
# running director says that it took it.
edit() {
    local before
    before=$(generation)
    "$demo_home/demo.d/edit" "$configuration" "$@"
    if lab_wait_for 10 generation_is_past "$before"; then
        promise "the director takes an edit of its file by itself (now generation $(generation))"
    elif lab_alive director; then
        promise "the director takes an edit of its file by itself" "generation is still $before ten seconds after: $*"
    else
        promise "the director takes an edit of its file by itself" "the director stopped after: $*"
    fi
}
