# The laboratory for an ordinary user: a user namespace in which that user is root
# and owns the network. Sourced by scripts/lab.
# shellcheck shell=bash

# lab_become_root COMMAND...: run the command again as root of a user namespace,
# with a /run of its own; returns only when that is not possible.
lab_become_root() {
    local why
    if ! why=$(unshare -Urnm true 2>&1); then
        lab_say "an ordinary user needs an unprivileged user namespace here, and the kernel refuses one: $why"
        lab_say "allow it (sysctl kernel.unprivileged_userns_clone=1 or user.max_user_namespaces) or run as root"
        return 1
    fi
    # shellcheck disable=SC2016
    exec unshare -Urnm sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"' sh \
        env DIRECTOR_LAB_USER_NAMESPACE=1 "$@"
}

lab_is_privileged() { [[ $EUID -eq 0 ]]; }
