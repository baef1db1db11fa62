# Apache httpd with mod_ssl on every real server. Sourced by scripts/lab.
# shellcheck shell=bash

lab_apache_config() {
    local node=$1 dir=$2 modules=/usr/lib/apache2/modules
    cat <<END
ServerRoot $dir
ServerName $node.$lab_domain
DefaultRuntimeDir $dir
PidFile $dir/httpd.pid
ErrorLog $dir/error.log
LogLevel warn
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule headers_module $modules/mod_headers.so
LoadModule ssl_module $modules/mod_ssl.so
User www-data
Group www-data
Mutex sem
ServerLimit 1
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
KeepAlive On
KeepAliveTimeout 15
MaxKeepAliveRequests 0
# client:port, the address it called, the request, how many came before it on the same connection
LogFormat "%a:%{remote}p %A:%p \"%r\" %>s %k" connection
CustomLog $dir/access.log connection
DocumentRoot $dir/site
Header always set X-Real-Server $node
SSLSessionCache none
Listen 80
Listen 8080
Listen 443 https
<VirtualHost *:443>
SSLEngine on
SSLCertificateFile $lab_dir/tls/site.pem
SSLCertificateKeyFile $lab_dir/tls/site.key
</VirtualHost>
END
}

lab_start_apaches() {
    local node dir as=()
    # A user namespace with one user in it has no www-data to change to, so there
    # httpd starts as an ordinary user, in a namespace inside.
    [[ $(wc -l </proc/self/uid_map) -eq 1 && $(awk '{print $3}' /proc/self/uid_map) -eq 1 ]] &&
        as=(unshare --user --map-user=33 --map-group=33 setpriv --pdeathsig TERM)
    for node in "${lab_real_servers[@]}"; do
        dir=$lab_dir/$node
        mkdir -p "$dir/site"
        echo "$node" >"$dir/site/who"
        lab_apache_config "$node" "$dir" >"$dir/httpd.conf"
        lab_spawn "apache-$node" "$node" "${as[@]}" /usr/sbin/apache2 -f "$dir/httpd.conf" -D FOREGROUND
    done
    for node in "${lab_real_servers[@]}"; do
        lab_wait_for 15 lab_apache_answers "$node" || {
            cat "$lab_dir/apache-$node.log" "$lab_dir/$node/error.log" >&2 2>/dev/null
            lab_die "Apache on $node does not answer; its log is above"
        }
    done
}

# Asks the server at its own address, from the router.
lab_apache_answers() {
    lab_alive "apache-$1" || lab_die "Apache on $1 ended at once: $(<"$lab_dir/apache-$1.log")"
    [[ $(lab_in net curl -q -s --noproxy '*' --max-time 2 "http://198.18.10.$(lab_host "$1")/who") == "$1" ]]
}
