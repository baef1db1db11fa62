# The clients: real curl from many addresses, the certificate authority verified.
# Sourced by scripts/demo.
# shellcheck shell=bash

# The last server that answered a client: [site,client,port].
declare -A answers=()
# What went wrong in the requests since it was last emptied.
failures=

# The URL options of one request to SITE at PORT, in the array `url`.
point_at() {
    local host=$1.$lab_domain scheme=http
    [[ $2 -ne 443 ]] || scheme=https
    url=(--resolve "$host:$2:[${lab_vip[$1]}]" "$scheme://$host:$2/who")
    [[ ${lab_vip[$1]} == *:* ]] || url[1]=$host:$2:${lab_vip[$1]}
}

# curl_from CLIENT OPTION...: -q and --noproxy keep the user's own settings out.
curl_from() {
    lab_in client curl -q -sS --noproxy '*' --max-time 5 --cacert "$lab_dir/tls/ca.pem" --interface "$@"
}

# ask CLIENT SITE PORT: one request on a connection of its own. Sets `server` to
# the name of who answered, or to "none" and adds to `failures`.
ask() {
    local said url
    point_at "$2" "$3"
    said=$(curl_from "$1" -w '%header{x-real-server}' "${url[@]}" 2>"$lab_dir/curl.stderr") ||
        failures+="${failures:+; }$1 to ${url[2]}: $(<"$lab_dir/curl.stderr")"
    server=${said%%$'\n'*}
    if [[ $said != "$server"$'\n'"$server" ]]; then server=none; fi
    answers[$2,$1,$3]=$server
}

# ask_all SITE PORT CLIENT...: in that order, one after the other.
ask_all() {
    local client
    for client in "${@:3}"; do ask "$client" "$1" "$2"; done
}

# Prints how an operator would send the request by hand.
show_request() {
    local url
    point_at "$2" "$3"
    printf '  $ curl --interface %s --cacert ca.pem %s %s %s\n' "$1" "${url[@]}"
}

# verdict SITE CLIENT: whether ports 80 and 443 led the client to one server.
verdict() {
    local http=${answers[$1,$2,80]} https=${answers[$1,$2,443]}
    if [[ $http == none || $https == none ]]; then
        echo "no answer"
    elif [[ $http == "$https" ]]; then
        echo "one server"
    else
        echo "two servers"
    fi
}

table_head() { printf '  %-8s %-18s %-14s %-15s %s\n' policy client "server for 80" "server for 443" verdict; }

# table_rows SITE CLIENT...
table_rows() {
    local client
    for client in "${@:2}"; do
        printf '  %-8s %-18s %-14s %-15s %s\n' "$1" "$client" "${answers[$1,$client,80]}" \
            "${answers[$1,$client,443]}" "$(verdict "$1" "$client")"
    done
}

# The clients with two servers, or with one: clients_with "two servers" SITE CLIENT...
clients_with() {
    local client
    for client in "${@:3}"; do
        [[ $(verdict "$2" "$client") != "$1" ]] || echo "$client"
    done
}

# servers_of SITE PORT CLIENT...: how many different servers they have.
servers_of() {
    local client
    for client in "${@:3}"; do echo "${answers[$1,$client,$2]}"; done | sort -u | grep -vc '^none$'
}

# promise_answers WHO: every request since the last call was answered.
promise_answers() {
    promise "every request of $1 was answered" "$failures"
    failures=
}

# promise_constant SENTENCE SITE PORT CLIENT...: asked again, the same server.
promise_constant() {
    local sentence=$1 site=$2 port=$3 client before moved=
    for client in "${@:4}"; do
        before=${answers[$site,$client,$port]}
        ask "$client" "$site" "$port"
        [[ $server == "$before" ]] || moved+="${moved:+, }$client went from $before to $server on port $port"
    done
    promise "$sentence" "$moved"
}

# promise_one_server SENTENCE SITE CLIENT...: 80 and 443 lead to one server.
promise_one_server() {
    local client torn=
    for client in "${@:3}"; do
        [[ $(verdict "$2" "$client") == "one server" ]] ||
            torn+="${torn:+, }$client has ${answers[$2,$client,80]} for 80 and ${answers[$2,$client,443]} for 443"
    done
    promise "$1" "$torn"
}
