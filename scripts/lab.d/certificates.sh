# A private certificate authority and the farm's one certificate. Sourced by scripts/lab.
# shellcheck shell=bash

lab_make_certificates() {
    local dir=$lab_dir/tls name names=()
    mkdir "$dir"
    for name in "${!lab_vip[@]}"; do names+=("DNS:$name.$lab_domain"); done
    {
        local curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
        openssl req -x509 "${curve[@]}" -days 2 -subj "/CN=Director laboratory CA" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
            -keyout "$dir/ca.key" -out "$dir/ca.pem" &&
            openssl req "${curve[@]}" -subj "/CN=Director laboratory" -keyout "$dir/site.key" -out "$dir/site.csr" &&
            openssl x509 -req -in "$dir/site.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
                -extfile <(echo "subjectAltName=$(IFS=,; echo "${names[*]}")"; echo "extendedKeyUsage=serverAuth") \
                -out "$dir/site.pem"
    } 2>"$dir/openssl.log" || {
        cat "$dir/openssl.log" >&2
        lab_die "openssl could not make the laboratory's certificates"
    }
}
