# The live act: the farm changes while clients are being served. Sourced by scripts/demo.
# shellcheck shell=bash

# change NAME SERVER EDIT...: one edit, noted with the times before and after it.
change() {
    local written=$EPOCHREALTIME
    edit live "${@:3}"
    printf '%s\t%s\t%s\t%s\n' "$written" "$EPOCHREALTIME" "$1" "$2" >>"$lab_dir/events.tsv"
}

# One connection, a request every half second, all through the act.
start_long_connection() {
    local client=$1 host=live.$lab_domain
    lab_spawn long client stdbuf -oL curl -q -sS --noproxy '*' --cacert "$lab_dir/tls/ca.pem" --interface "$client" \
        --resolve "$host:443:${lab_vip[live]}" --rate 2/s -w '%{num_connects} ' "https://$host/who?[1-1000]"
}

act_live() {
    local stayer='' home='' victim address client sentence why answered
    act "the farm changes while it works"
    # The first of the clients that come again and again: so one of them is bound
    # to the server that will go.
    ask 198.18.66.1 live 443
    victim=$server
    address=198.18.10.$(lab_host "$victim")
    for client in "${clients[@]}"; do
        ask "$client" live 443
        [[ $server == "$victim" ]] || { stayer=$client home=$server; break; }
    done
    promise_answers "the clients bound beforehand"
    [[ -n $home && $victim != none ]] || {
        promise "the farm can change while it works" "there were no two clients on two servers to begin with"
        return 0
    }
    tell "Clients ask VIP ${lab_vip[live]} (mark 20, rr) on 80 and 443: $steady that come again and again, and newcomers. One more, $stayer, keeps a single https connection open to $home. Meanwhile the YAML is edited: rs5 is added, $victim is quiesced (weight 0), then removed."
    lab_spawn load client "$demo_home/demo.d/load" --vip "${lab_vip[live]}" --host "live.$lab_domain" \
        --cacert "$lab_dir/tls/ca.pem" --steady "$steady" --timeout 4
    start_long_connection "$stayer"
    lab_run sleep "$phase"
    change add rs5 add 198.18.10.15
    lab_run sleep "$phase"
    change quiesce "$victim" weight "$address" 0
    lab_run sleep "$phase"
    change remove "$victim" remove "$address"
    answered=$(grep -c rs "$lab_dir/long.log" || true)
    # A request that the removal cut short takes its client until curl gives up.
    lab_run sleep $((phase + 4))
    judge_long_connection "$stayer" "$home" "$answered"
    lab_stop load || true
    sed -i '/\t/!d' "$lab_dir/load.log"
    while IFS=$'\t' read -r sentence why; do
        promise "$sentence" "$why"
    done < <("$demo_home/demo.d/judge" "$lab_dir/load.log" "$lab_dir/events.tsv" 2>"$lab_dir/judge.log" ||
        printf 'what the background load saw can be judged\t%s\n' "$(tail -n 1 "$lab_dir/judge.log")")
}

# judge_long_connection CLIENT SERVER ANSWERED: it had that many answers at the last edit.
judge_long_connection() {
    local total said why=
    lab_alive long || why="curl ended before the act did: $(tail -n 1 "$lab_dir/long.log")"
    lab_stop long || true
    # A line is the -w text of the request before it, if any, and a server.
    total=$(grep -c rs "$lab_dir/long.log" || true)
    said=$(grep -o 'rs[0-9]' "$lab_dir/long.log" | sort -u | tr '\n' ' ')
    [[ $said == "$2 " ]] || why+="${why:+, }the answers came from ${said:-nobody}"
    [[ $(grep -c '^1 ' "$lab_dir/long.log") -le 1 ]] || why+="${why:+, }curl had to connect again"
    [[ $total -gt $3 ]] || why+="${why:+, }no answer came after the last edit"
    promise "the one connection of $1 lived through all edits, on $2 alone ($total requests)" "$why"
}
