//! How DPDK comes into a program: within it, or as the system's shared libraries.
//!
//! Drivers free each packet by asking for the number of their core. Within the program that is one
//! load; from a shared library it is a call of `__tls_get_addr`, for each packet. So what is built to
//! run (`--release`) carries DPDK, with every driver of a bus, a mempool or a NIC; what is built
//! to be debugged takes the shared libraries, which links in a fraction of the time, and
//! DPDK loads its drivers by name when it starts.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::Command;

use crate::{PACKAGES, dpdk};

/// Says which of the two it shall be, where the profile's choice is not the right one.
const CHOICE: &str = "DIRECTOR_DPDK";

/// The kinds of drivers that a load balancer has a use for. They make themselves known before
/// `main`, and nothing else names them, so their archives are taken whole.
const DRIVERS: [&str; 4] = ["rte_bus_", "rte_common_", "rte_mempool_", "rte_net_"];

/// The kinds of drivers that it has none for. `rte_common_qat` is half a driver for cryptography.
const OTHER_DRIVERS: [&str; 9] = [
    "rte_baseband_",
    "rte_common_qat",
    "rte_compress_",
    "rte_crypto_",
    "rte_dma_",
    "rte_event_",
    "rte_raw_",
    "rte_regex_",
    "rte_vdpa_",
];

/// What the shim and the bindings call by name.
const SHARED: [&str; 5] = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal"];

/// Tells Cargo what to link.
pub fn link() -> Result<(), String> {
    println!("cargo:rerun-if-env-changed={CHOICE}");
    let folder = dpdk(&["--variable=libdir"])?.concat();
    println!("cargo:rustc-link-search=native={folder}");

    let archives = Path::new(&folder).join("librte_eal.a").exists();
    let within = match env::var(CHOICE).as_deref() {
        Ok("static") if !archives => {
            return Err(format!(
                "{CHOICE}=static needs DPDK's archives, and {folder} has no librte_eal.a; \
                 install them (`{PACKAGES}`) or leave {CHOICE} out."
            ));
        }
        Ok("static") => true,
        Ok("shared") => false,
        Ok(other) if !other.is_empty() => {
            return Err(format!("{CHOICE} is `{other}`; it can be `static` or `shared`."));
        }
        _ => archives && env::var("PROFILE").is_ok_and(|profile| profile == "release"),
    };
    if within {
        return link_within();
    }
    for library in SHARED {
        println!("cargo:rustc-link-lib={library}");
    }
    Ok(())
}

/// The archives of DPDK in the order in which each needs only later ones, then the libraries of
/// others that its drivers call (libpcap, libibverbs, libbpf, ...), which stay shared.
fn link_within() -> Result<(), String> {
    let words = dpdk(&["--static", "--libs"])?;
    for archive in words.iter().filter_map(|word| word.strip_prefix("-l:lib")?.strip_suffix(".a")) {
        let of = |kinds: &[&str]| kinds.iter().any(|kind| archive.starts_with(kind));
        if of(&OTHER_DRIVERS) {
            continue;
        }
        let how = if of(&DRIVERS) { "+whole-archive,-bundle" } else { "-bundle" };
        println!("cargo:rustc-link-lib=static:{how}={archive}");
    }
    // The linker leaves out those that nothing calls.
    let others: BTreeSet<&str> = words.iter().filter_map(|word| word.strip_prefix("-l")).collect();
    for library in others {
        if !library.starts_with([':', '/'])
            && !library.starts_with("rte_")
            && is_installed(library)?
        {
            println!("cargo:rustc-link-lib=dylib={library}");
        }
    }
    Ok(())
}

/// Whether the compiler finds the library: pkg-config also names plug-ins of libibverbs, which
/// lie in a folder of their own and are loaded when their device is there.
fn is_installed(library: &str) -> Result<bool, String> {
    let file = format!("lib{library}.so");
    let answer = Command::new("cc").arg(format!("-print-file-name={file}")).output();
    let answer = answer
        .map_err(|e| format!("`cc` cannot be run ({e}); install what DPDK needs: `{PACKAGES}`."))?;
    Ok(String::from_utf8_lossy(&answer.stdout).trim() != file)
}
