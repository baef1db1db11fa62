//! Binds the installed DPDK: bindgen for the declarations, `cc` for the shim, and what to link
//! (`build/linking.rs`).

#[path = "build/linking.rs"]
mod linking;

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const OLDEST: &str = "22.11";
const PACKAGES: &str = "apt-get install libdpdk-dev libclang-dev clang pkg-config";

const TYPES: &str = "rte_(mbuf|mempool|ether_addr|cpuset_t|eth_(conf|dev_info|stats|link|rx_mq_mode|rss_conf|rss_reta_entry64|fc_conf|rxconf|txconf))|cpu_set_t";
const FUNCTIONS: &str = "_rte_.*|shim_.*|rte_strerror|rte_version|rte_eal_(init|cleanup)|rte_socket_(count|id|id_by_idx)\
    |rte_thread_(set_affinity|register|unregister)|rte_mempool_(free|in_use_count|avail_count)\
    |rte_pktmbuf_(pool_create|copy|free_bulk)\
    |rte_eth_(stats_get|macaddr_get|link_get_nowait|promiscuous_(enable|disable)|allmulticast_(enable|disable)|rx_queue_setup|tx_queue_setup|tx_done_cleanup)\
    |rte_eth_dev_(get_port_by_name|info_get|adjust_nb_rx_tx_desc|configure|start|stop|close|socket_id|get_mtu|set_mtu|rss_hash_(conf_get|update)|rss_reta_(query|update)|is_removed)";
const CONSTANTS: &str = "SHIM_.*|RTE_(MAX_LCORE|PKTMBUF_HEADROOM|MBUF_DEFAULT_BUF_SIZE|MEMPOOL_CACHE_MAX_SIZE|ETH_RETA_GROUP_SIZE)";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for file in ["build.rs", "build/linking.rs", "src/wrapper.h", "src/shim.c"] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");

    let flags = dpdk(&["--cflags"])?;
    bindings(&flags)?;

    let mut shim = cc::Build::new();
    shim.file("src/shim.c").include("src").opt_level(3).warnings(false);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.try_compile("capsule_ffi_shim").map_err(|e| {
        format!("The DPDK shim does not compile; a C compiler is needed (`{PACKAGES}`): {e}")
    })?;

    linking::link()
}

/// What `pkg-config` says of libdpdk, word by word.
fn dpdk(question: &[&str]) -> Result<Vec<String>, String> {
    let at_least = format!("libdpdk >= {OLDEST}");
    let answer = Command::new("pkg-config").args(question).arg(&at_least).output();
    let answer = answer.map_err(|e| {
        format!("`pkg-config` cannot be run ({e}); install what DPDK needs: `{PACKAGES}`.")
    })?;
    if !answer.status.success() {
        return Err(format!(
            "DPDK {OLDEST} or later is not installed for development; install it: `{PACKAGES}`. \
             pkg-config says: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&answer.stdout).split_whitespace().map(str::to_owned).collect())
}

fn bindings(flags: &[String]) -> Result<(), String> {
    let out = env::var_os("OUT_DIR").ok_or("Cargo did not set OUT_DIR.")?;
    let made = bindgen::Builder::default()
        .header("src/wrapper.h")
        .clang_args(flags)
        .allowlist_type(TYPES)
        .allowlist_function(FUNCTIONS)
        .allowlist_var(CONSTANTS)
        .rustified_enum("rte_eth_rx_mq_mode")
        .derive_default(true)
        .derive_copy(true)
        .generate_comments(false)
        .layout_tests(true)
        .generate()
        .map_err(|e| {
            format!("DPDK's headers cannot be bound; libclang is needed (`{PACKAGES}`): {e}")
        })?;
    let file = PathBuf::from(out).join("bindings.rs");
    made.write_to_file(&file).map_err(|e| format!("{} cannot be written: {e}.", file.display()))
}
