# The namespaces and the wires between them. Sourced by scripts/lab.
# shellcheck shell=bash

# Fail at once, and say why, where the kernel will not let us build.
lab_check_rights() {
    local tool
    for tool in ip ethtool nsenter setpriv ping curl openssl python3; do
        command -v "$tool" >/dev/null || lab_die "$tool is missing: run scripts/setup"
    done
    mkdir -p /run/netns 2>/dev/null || true
    [[ -w /run/netns ]] ||
        lab_die "network namespaces are named in /run/netns, which only root can write: run as root, or through scripts/demo, which makes a user namespace"
    if compgen -G "/run/netns/dl-$lab_id-*" >/dev/null; then
        lab_die "namespaces dl-$lab_id-* are left from a laboratory that was killed: run scripts/lab sweep"
    fi
}

# lab_set NODE KEY=VALUE...: sysctls, keys with slashes below /proc/sys/net.
lab_set() {
    # shellcheck disable=SC2016
    lab_in "$1" sh -c 'for s; do echo "${s#*=}" > "/proc/sys/net/${s%%=*}" || exit; done' sh "${@:2}"
}

# lab_ip NODE: ip commands from standard input, one a line.
lab_ip() { ip -n "$(lab_namespace "$1")" -batch -; }

# No frame may leave unfinished (no checksum, many segments, its tag beside it)
# for a device to complete: a poll-mode port on the wire would see it so.
lab_plain_frames() {
    local node=$1 device
    for device in "${@:2}"; do
        lab_in "$node" ethtool -K "$device" rx off tx off sg off tso off gso off gro off \
            rxvlan off txvlan off >/dev/null 2>&1 ||
            lab_die "ethtool cannot switch the offloads of $device in $node off"
    done
}

lab_build() {
    local node
    for node in "${lab_nodes[@]}"; do echo "netns add $(lab_namespace "$node")"; done | ip -batch - ||
        lab_die "cannot make network namespaces: this needs root, or a user namespace (scripts/demo makes one)"
    for node in "${lab_nodes[@]}"; do
        lab_set "$node" ipv4/conf/{all,default}/rp_filter=0 ipv4/ip_forward=0 \
            ipv6/conf/{all,default}/{accept_dad,accept_ra,dad_transmits}=0
    done
    lab_build_net
    lab_build_director
    lab_build_client
    for node in "${lab_real_servers[@]}"; do lab_build_real_server "$node"; done
}

# The wires start and end inside namespaces, so the host never sees one.
lab_build_net() {
    local node
    lab_set net ipv4/ip_forward=1 ipv6/conf/{all,default}/forwarding=1 ipv4/conf/{all,default}/send_redirects=0
    {
        echo "link set lo up"
        echo "link add name lan address $(lab_mac net) type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        for node in director "${lab_real_servers[@]}"; do
            echo "link add name $node type veth peer name eth0 address $(lab_mac "$node") netns $(lab_namespace "$node")"
            echo "link set dev $node addrgenmode none master lan up"
        done
        echo "link add name client type veth peer name eth0 address $(lab_mac client) netns $(lab_namespace client)"
        echo "link set dev client up"
        echo "link set dev lan up"
        echo "addr add 198.18.0.254/24 dev client"
        echo "addr add 2001:db8::fe/64 dev client nodad"
        echo "addr add 198.18.10.254/24 dev lan"
        echo "addr add 2001:db8:10::fe/64 dev lan nodad"
        # The VIPs are on the LAN: the router asks for them by ARP and ND, and
        # the director alone may answer.
        echo "addr add 198.18.255.254/24 dev lan"
        echo "addr add 2001:db8:255::fe/64 dev lan nodad"
        echo "route add $lab_clients via 198.18.0.1"
        echo "route add $lab_clients6 via 2001:db8::1"
    } | lab_ip net
    lab_plain_frames net client director "${lab_real_servers[@]}"
}

# The director's kernel keeps out of the port: no address, no IPv6, no forwarding.
lab_build_director() {
    lab_set director ipv6/conf/{all,default,eth0}/disable_ipv6=1
    lab_ip director <<END
link set lo up
link set eth0 up
END
    lab_plain_frames director eth0
}

lab_build_client() {
    lab_set client ipv6/ip_nonlocal_bind=1 ipv4/conf/all/arp_announce=2
    lab_ip client <<END
link set lo up
link set eth0 up
addr add 198.18.0.1/24 dev eth0
addr add 2001:db8::1/64 dev eth0 nodad
route add default via 198.18.0.254
route add default via 2001:db8::fe
route add local $lab_clients dev lo
route add local $lab_clients6 dev lo
END
    lab_plain_frames client eth0
}

# LVS-DR: the VIPs stand on lo, and ARP neither answers for them nor shows them.
# (IPv6 answers a solicitation only for addresses of the interface it came by.)
lab_build_real_server() {
    local node=$1 host vip
    host=$(lab_host "$node")
    lab_set "$node" ipv4/conf/{all,eth0}/arp_ignore=1 ipv4/conf/{all,eth0}/arp_announce=2 \
        ipv4/ip_unprivileged_port_start=0
    {
        echo "link set lo up"
        echo "link set eth0 up"
        echo "addr add 198.18.10.$host/24 dev eth0"
        echo "addr add 2001:db8:10::$host/64 dev eth0 nodad"
        echo "route add default via 198.18.10.254"
        echo "route add default via 2001:db8:10::fe"
        for vip in "${lab_vip[@]}"; do
            case $vip in
                *:*) echo "addr add $vip/128 dev lo nodad" ;;
                *) echo "addr add $vip/32 dev lo" ;;
            esac
        done
    } | lab_ip "$node"
    lab_plain_frames "$node" eth0
}

lab_take_down() {
    local node
    for node in "${lab_nodes[@]}"; do
        [[ ! -e /run/netns/$(lab_namespace "$node") ]] || ip netns del "$(lab_namespace "$node")"
    done
}

# lab_answers_for VIP: the MAC that the router has for it after asking, or nothing.
lab_answers_for() {
    local vip=$1
    lab_in net ping -c 1 -W 1 -q "$vip" >/dev/null 2>&1
    ip -n "$(lab_namespace net)" neigh show "$vip" dev lan | sed -n 's/.* lladdr \([0-9a-f:]*\).*/\1/p'
}
