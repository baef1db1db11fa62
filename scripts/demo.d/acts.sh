# The acts of the demonstration, but for the live one. Sourced by scripts/demo.
# shellcheck shell=bash

act_addresses() {
    local vip mac wrong=
    act "one director answers for every VIP"
    tell "Each real server has all VIPs on lo, hidden from ARP, as direct routing needs. Before the director runs, the router's question who has a VIP must stay without an answer."
    mac=$(lab_answers_for "${lab_vip[pfm]}")
    promise "no real server answers ARP for a VIP" "${mac:+$mac answered for ${lab_vip[pfm]}}"

    write_configuration
    "$binary" check "$configuration" >"$lab_dir/check.log" 2>&1 || wrong=$(<"$lab_dir/check.log")
    promise "director check accepts conf/demo.yaml" "$wrong"
    start_director
    wrong=
    for vip in "${lab_vip[@]}"; do
        ip -n "$(lab_namespace net)" neigh flush to "$vip" >/dev/null 2>&1
        mac=$(lab_answers_for "$vip")
        [[ $mac == "$(lab_mac director)" ]] || wrong+="${wrong:+, }$vip has ${mac:-no MAC}"
    done
    promise "the director, at $(lab_mac director), answers ARP and Neighbour Solicitations for all VIPs" "$wrong"
    wrong=
    for vip in 198.18.10.1 "${lab_vip[@]}"; do
        lab_in client ping -c 1 -W 2 -q "$vip" >/dev/null 2>&1 || wrong+="${wrong:+, }$vip"
    done
    promise "its address and the VIPs answer ping" "${wrong:+no reply from $wrong}"
}

act_source_hashing() {
    local torn
    act "source hashing (sh): two services, two answers"
    tell "VIP ${lab_vip[sh]}. sh needs no memory: a hash of the client's address picks the server. But 80 and 443 are two services; three of the four servers serve 443, so the hash falls differently."
    show_request "${clients[0]}" sh 80
    ask_all sh 80 "${clients[@]}"
    ask_all sh 443 "${clients[@]}"
    table_head
    table_rows sh "${clients[@]}"
    promise_constant "sh sends a client to the same server each time, on port 80" sh 80 "${clients[@]}"
    promise_constant "sh sends a client to the same server each time, on port 443" sh 443 "${clients[@]}"
    torn=$(clients_with "two servers" sh "${clients[@]}" | wc -l)
    promise "the gap: $torn of ${#clients[@]} clients have one server for http and another for https" \
        "$([[ $torn -gt 0 ]] || echo "every client had one server; nothing was shown")"
    promise_answers "the sh services"
}

act_ppc() {
    local torn backwards=() client
    act "PPC, persistent port connections: each port remembers, and by itself"
    tell "VIP ${lab_vip[ppc]}. Now the director remembers, but once for each port. The clients come to 80 in one order and to 443 in the other, as clients do, and rr gives them out in turn."
    for client in "${clients[@]}"; do backwards=("$client" "${backwards[@]}"); done
    ask_all ppc 80 "${clients[@]}"
    ask_all ppc 443 "${backwards[@]}"
    table_head
    table_rows ppc "${clients[@]}"
    promise_constant "each client stays on its server for port 80" ppc 80 "${clients[@]}"
    promise_constant "each client stays on its server for port 443" ppc 443 "${clients[@]}"
    torn=$(clients_with "two servers" ppc "${clients[@]}" | wc -l)
    promise "the gap is still there: $torn of ${#clients[@]} clients have two servers" \
        "$([[ $torn -gt 0 ]] || echo "every client had one server; nothing was shown")"
    promise_answers "the PPC services"
}

act_pcc() {
    local client wrong=
    act "PCC, persistent client connections: port 0, every port of the VIP"
    tell "VIP ${lab_vip[pcc]}. One service takes all ports, and a client has one server on all of them."
    ask_all pcc 80 "${clients[@]}"
    ask_all pcc 443 "${clients[@]}"
    ask_all pcc 8080 "${clients[@]}"
    table_head
    table_rows pcc "${clients[@]}"
    promise_one_server "each client has one server for 80 and 443" pcc "${clients[@]}"
    for client in "${clients[@]}"; do
        [[ ${answers[pcc,$client,8080]} == "${answers[pcc,$client,80]}" ]] ||
            wrong+="${wrong:+, }$client has ${answers[pcc,$client,8080]}, not ${answers[pcc,$client,80]}"
    done
    promise "and the same one for 8080, which nobody named" "$wrong"
    promise_spread pcc
    promise_answers "the PCC service"
}

act_pfm() {
    act "PFM, persistent firewall mark: 80 and 443 are one service"
    tell "VIP ${lab_vip[pfm]}. Ports 80 and 443 carry mark 10: one service, one memory. Port 8080 is outside the mark."
    show_request "${clients[0]}" pfm 443
    ask_all pfm 443 "${clients[@]}"
    ask_all pfm 80 "${clients[@]}"
    table_head
    table_rows pfm "${clients[@]}"
    promise_one_server "the promise: one client, one server for http and https" pfm "${clients[@]}"
    promise_spread pfm
    promise_not_bound "${clients[0]}" 8080
    ask_all pfm6 443 "${clients6[@]}"
    ask_all pfm6 80 "${clients6[@]}"
    table_rows pfm6 "${clients6[@]}"
    promise_one_server "the same over IPv6" pfm6 "${clients6[@]}"
    promise_spread pfm6 "${clients6[@]}"
    promise_answers "the marked services"
    promise_refused "${clients[0]}" 8081
}

# promise_spread SITE [CLIENT...]: one server for everybody would keep any promise.
promise_spread() {
    local who=("${@:2}") used
    [[ ${#who[@]} -gt 0 ]] || who=("${clients[@]}")
    used=$(servers_of "$1" 80 "${who[@]}")
    promise "the clients are spread over $used servers" "$([[ $used -gt 1 ]] || echo "one server got them all")"
}

# promise_not_bound CLIENT PORT: a few requests, more than one server.
promise_not_bound() {
    local seen=() turn
    for turn in 1 2 3 4; do
        ask "$1" pfm "$2"
        seen[turn]=$server
    done
    promise "port $2 is not in the mark and binds nobody: $1 got ${seen[*]} there" \
        "$([[ $(printf '%s\n' "${seen[@]}" | sort -u | wc -l) -gt 1 ]] || echo "one server answered all four requests")"
}

# promise_refused CLIENT PORT: what no service takes is answered as a host would.
promise_refused() {
    local url status=0
    point_at pfm "$2"
    curl_from "$1" "${url[@]}" >/dev/null 2>&1 || status=$?
    promise "port $2, which no service takes, is refused at once" \
        "$([[ $status -eq 7 ]] || echo "curl ended with $status instead of 7, connection refused")"
}

act_keepalive() {
    local client=${clients[1]} host=pfm.$lab_domain said home connections=0 number port seen ports=() wrong=
    act "Apache keep-alive: the connection and what outlives it"
    home=${answers[pfm,$client,443]}
    tell "$client opens one TCP connection and sends five https requests through it."
    said=$(curl_from "$client" --resolve "$host:443:${lab_vip[pfm]}" \
        -w '%{num_connects} %{local_port} ' "https://$host/who?[1-5]" 2>&1) || wrong=$said
    while read -r number port seen; do
        connections=$((connections + number))
        ports+=("$port")
        [[ $seen == "$home" ]] || wrong+="${wrong:+, }a request went to ${seen:-nobody}, not to $home"
    done < <(regroup "$said")
    [[ $connections -eq 1 && ${#ports[@]} -eq 5 ]] || wrong+="${wrong:+, }${#ports[@]} answers over $connections connections"
    promise "five requests in one connection (client port ${ports[0]:-?}) were answered by $home" "$wrong"

    tell "The connection is closed. New connections, from other client ports, some seconds later:"
    sleep 2
    promise_constant "the binding outlives the connection: https still leads to $home" pfm 443 "$client"
    promise_constant "and so does http, which was not part of it" pfm 80 "$client"
    show_binding "$client" "$home"
    promise_answers "the keep-alive act"
}

# show_binding CLIENT SERVER: what an operator sees of it, and what would come next.
show_binding() {
    local address said
    address=198.18.10.$(lab_host "$2")
    # As ipvsadm lists a mark's template: client port 0, the mark as an address.
    said=$(director show -c 2>&1 | grep -F "$1:0 " || true)
    indent <<<"$said"
    promise "director show -c lists the binding of $1 under mark 10 to $2" \
        "$(grep -F " 0.0.0.10:0 " <<<"$said" | grep -qF " $address:" || echo "no line has $1:0, 0.0.0.10:0 and $address")"
    said=$(director explain "tcp $1:40000 -> ${lab_vip[pfm]}:443" 2>&1 || true)
    indent <<<"$said"
    promise "director explain says that a next packet would go to $2" \
        "$(grep -qF "$address" <<<"$said" || echo "it does not name $address")"
}

# curl prints a body line, then the -w text; turn that into "connects port body" lines.
regroup() {
    awk 'NR == 1 { body = $1; next } { print $1, $2, body; body = $3 }' <<<"$1"
}
