# Who stands where in the laboratory: nodes, addresses, names. Sourced by scripts/lab.
# shellcheck shell=bash disable=SC2034

# The router between the clients' network and the servers' LAN, which is also
# the LAN's switch; the director; the clients' host; and the real servers.
lab_real_servers=(rs1 rs2 rs3 rs4 rs5)
lab_nodes=(net director client "${lab_real_servers[@]}")

# The virtual addresses, by the name that certificates and URLs use.
declare -gA lab_vip=(
    [sh]=198.18.255.1
    [ppc]=198.18.255.2
    [pcc]=198.18.255.3
    [pfm]=198.18.255.4
    [pfm6]=2001:db8:255::4
    [live]=198.18.255.5
)

readonly lab_domain=lab.test

# Any address of these two is an address of the client node.
readonly lab_clients=198.18.64.0/18
readonly lab_clients6=2001:db8:64::/64

# lab_host NODE: the last part of its address in 198.18.10.0/24 and 2001:db8:10::/64.
lab_host() {
    case $1 in
        director) echo 1 ;;
        rs[1-9]) echo "1${1#rs}" ;;
        net) echo 254 ;;
    esac
}

# lab_mac NODE: 02:00, then the four bytes of the node's IPv4 address.
lab_mac() {
    if [[ $1 == client ]]; then
        echo 02:00:c6:12:00:01
    else
        printf '02:00:c6:12:0a:%02x\n' "$(lab_host "$1")"
    fi
}

# lab_namespace NODE: its network namespace, as `ip netns` lists it.
lab_namespace() { echo "dl-$lab_id-$1"; }
