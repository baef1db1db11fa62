//! What is wrong at start ends in one sentence that says what to do.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use nic::{NicConfig, NicError, PortConfig};

fn null(cores: &[usize]) -> PortConfig {
    PortConfig::new("wan", "net_null0,size=64", cores)
}

fn sentence(prefix: &str, change: impl FnOnce(&mut NicConfig)) -> String {
    let mut config = lab::config(prefix, vec![null(&[1])]);
    change(&mut config);
    lab::refusal(&config).1
}

#[test]
fn missing_hugepages_are_told_with_the_command_that_reserves_them() {
    // More than any machine has, so that it is missing on one with hugepages, too.
    let told = sentence("huge", |c| {
        (c.memory.no_huge, c.memory.mib) = (false, 100_000_000);
    });
    let (_free, told) = told.split_once(' ').unwrap();
    let expected = "MiB of hugepages are free and 100000000 MiB are needed; reserve them (`echo \
                    50000000 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages`), or set \
                    no_huge for a lab without them";
    assert_eq!(told, expected);
}

#[test]
fn too_few_mbufs_are_told_with_the_number_that_is_enough() {
    let told = sentence("mbufs", |c| c.mbufs = 2_047);
    assert!(told.starts_with("2047 mbufs are too few"), "{told}");
    assert!(told.contains("set mbufs to at least 2560, or shorten the queues"), "{told}");
}

#[test]
fn too_little_memory_is_told_with_the_size_that_is_enough() {
    let told = sentence("mib", |c| c.memory.mib = 20);
    assert_eq!(
        told,
        "16383 mbufs need about 80 MiB and memory.mib is 20; write at least 80 there, or fewer mbufs"
    );
    let told = sentence("much", |c| c.memory.mib = u32::MAX);
    assert!(told.starts_with("memory.mib is 4294967295; it must be at most the "), "{told}");
}

#[test]
fn cores_that_cannot_be_used_are_told() {
    for core in [999, 100_000] {
        let told = sentence("core", |c| c.ports[0].cores = vec![core]);
        assert!(
            told.starts_with(&format!("core {core} cannot be used (there is no such CPU")),
            "{told}"
        );
        assert!(told.contains("`lscpu -e`"), "{told}");
    }
    let told = sentence("main", |c| c.main_core = 999);
    assert!(told.starts_with("core 999 cannot be used"), "{told}");
    let told = sentence("twice", |c| c.ports[0].cores = vec![1, 0, 1]);
    assert_eq!(told, "port wan names core 1 twice; a core has one receive queue on a port");
    let told = sentence("none", |c| c.ports[0].cores.clear());
    assert!(told.starts_with("port wan has no cores"), "{told}");
    let told = sentence("ports", |c| c.ports.clear());
    assert!(told.starts_with("no port is configured"), "{told}");
}

#[test]
fn names_and_devices_are_used_once() {
    let told = sentence("name", |c| c.ports.push(PortConfig::new("wan", "net_null1", &[1])));
    assert!(told.starts_with("two ports are named wan"), "{told}");
    let told = sentence("device", |c| c.ports.push(PortConfig::new("lan", "net_null0", &[1])));
    assert!(told.starts_with("ports wan and lan are both on device net_null0"), "{told}");
}

#[test]
fn values_outside_their_range_are_told_with_the_range() {
    let told = sentence("cache", |c| c.mbuf_cache = 1_000);
    assert_eq!(told, "mbuf_cache is 1000; it must be 0 to 512");
    let told = sentence("mtu", |c| c.ports[0].mtu = 500);
    assert_eq!(told, "port wan: mtu is 500; it must be 576 to 9216");
    let told = sentence("rxd", |c| c.ports[0].rx_descriptors = 0);
    assert_eq!(told, "port wan: rx_descriptors is 0; it must be 32 to 32768");
    for prefix in ["", "a/b", "..", "a b"] {
        let told = sentence("x", |c| c.memory.file_prefix = prefix.to_owned());
        assert!(told.starts_with("memory.file_prefix is "), "{told}");
    }
    let told = sentence("nul", |c| c.ports[0].device = "net_null0,\0".to_owned());
    assert!(told.starts_with("port wan: the device is "), "{told}");
}

#[test]
fn devices_that_do_not_exist_are_told() {
    let told = sentence("pci", |c| c.ports[0].device = "0000:ff:1f.7".to_owned());
    assert!(told.starts_with("port wan: there is no device 0000:ff:1f.7"), "{told}");
    let told = sentence("iface", |c| c.ports[0].device = "net_af_packet0,iface=nope0".to_owned());
    assert!(told.starts_with("port wan: there is no network interface nope0"), "{told}");
    let told = sentence("no-iface", |c| c.ports[0].device = "net_af_packet0".to_owned());
    assert!(told.contains("must be given with `,iface=NAME`"), "{told}");
    let told = sentence("file", |c| c.ports[0].device = "net_pcap0,rx_pcap=/nope.pcap".to_owned());
    assert!(told.starts_with("port wan: /nope.pcap cannot be read"), "{told}");
}

#[test]
fn a_driver_that_dpdk_does_not_have_is_told() {
    lab::isolated("a_driver_that_dpdk_does_not_have_is_told", || {
        let told = sentence("driver", |c| c.ports[0].device = "net_nonsense0".to_owned());
        assert!(told.starts_with("port wan: DPDK cannot bring up net_nonsense0"), "{told}");
    });
}

#[test]
fn arguments_that_a_driver_refuses_are_told() {
    lab::isolated("arguments_that_a_driver_refuses_are_told", || {
        let told = sentence("args", |c| c.ports[0].device = "net_memif0,role=wrong".to_owned());
        let expected = "port wan: DPDK cannot bring up net_memif0,role=wrong; check the device's \
                        arguments (DPDK: memif_set_role(): Unknown role: wrong.)";
        assert_eq!(told, expected);
    });
}

#[test]
fn a_second_program_with_the_same_prefix_is_refused() {
    lab::isolated("a_second_program_with_the_same_prefix_is_refused", || {
        let mut config = lab::config("prefix", vec![null(&[1])]);
        if let Ok(prefix) = std::env::var("NIC_TEST_PREFIX") {
            config.memory.file_prefix = prefix.clone();
            let (error, told) = lab::refusal(&config);
            assert_eq!(error, NicError::AlreadyRunning { file_prefix: prefix }, "{told}");
            return;
        }
        let _first = nic::open(&config).unwrap();
        lab::again_with("NIC_TEST_PREFIX", &config.memory.file_prefix).success();
    });
}

#[test]
fn the_memory_that_the_error_asks_for_is_enough() {
    lab::isolated("the_memory_that_the_error_asks_for_is_enough", || {
        let mut config = lab::config("enough", vec![null(&[1])]);
        config.mbufs = 65_535;
        config.ports[0].mtu = 1500;
        config.memory.mib = 1;
        let (error, _) = lab::refusal(&config);
        let NicError::TooLittleMemory { need_mib, .. } = error else { panic!("{error}") };
        config.memory.mib = need_mib as u32;
        nic::open(&config).unwrap();
    });
}

#[test]
fn so_is_the_memory_asked_for_jumbo_frames() {
    lab::isolated("so_is_the_memory_asked_for_jumbo_frames", || {
        let mut config = lab::config("enough-jumbo", vec![null(&[1])]);
        config.mbufs = 16_383;
        config.ports[0].mtu = 9000;
        config.memory.mib = 1;
        let (error, _) = lab::refusal(&config);
        let NicError::TooLittleMemory { need_mib, .. } = error else { panic!("{error}") };
        config.memory.mib = need_mib as u32;
        nic::open(&config).unwrap();
    });
}

#[test]
fn a_runtime_directory_that_cannot_be_written_is_told() {
    let test = "a_runtime_directory_that_cannot_be_written_is_told";
    lab::isolated_by(&["env", "RUNTIME_DIRECTORY=/nope"], test, || {
        let told = sentence("runtime", |_| ());
        assert!(told.starts_with("/nope cannot be written"), "{told}");
    });
}

#[test]
fn an_rss_key_of_the_wrong_length_is_told() {
    lab::isolated("an_rss_key_of_the_wrong_length_is_told", || {
        let told = sentence("key", |c| {
            c.ports[0] = null(&[0, 1]);
            c.ports[0].rss_key = Some(vec![0x6D; 7]);
        });
        assert!(
            told.starts_with("port wan: the RSS key has 7 bytes and the device wants "),
            "{told}"
        );
    });
}
