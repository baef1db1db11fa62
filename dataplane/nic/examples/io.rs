//! Receives and sends back what a device has, on one core, and says what a packet costs:
//! the floor under every figure of the packet path.
//!
//! `cargo run --release -p nic --example io -- [DEVICE [CORE [SECONDS]]]`, by default
//! `net_null0,size=64 1 5`. Compare with DPDK's own loop:
//! `dpdk-testpmd -l 0,1 --no-pci --vdev=net_null0,size=64 -- --forward-mode=io`.
//!
//! Takes hugepages where some are free. Without them every mbuf begins a page, so that all
//! headers fall into the same few lines of the first cache, and every packet costs twice as
//! much, with testpmd as well.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dataplane::port::{Burst, Port};
use nic::{Memory, NicConfig, NicError, PortConfig, Turn};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |n: usize, default: &str| arguments.get(n).cloned().unwrap_or(default.to_owned());
    let device = text(0, "net_null0,size=64");
    let (Ok(core), Ok(seconds)) = (text(1, "1").parse(), text(2, "5").parse()) else {
        eprintln!("usage: io [DEVICE [CORE [SECONDS]]]");
        return ExitCode::FAILURE;
    };
    match measure(&device, core, Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(device: &str, core: usize, time: Duration) -> Result<(), NicError> {
    let file_prefix = format!("nic-io-{}", std::process::id());
    let mut config = NicConfig {
        memory: Memory { no_huge: false, mib: 256, file_prefix },
        main_core: 0,
        mbufs: 32_767,
        mbuf_cache: 256,
        ports: vec![PortConfig::new("port", device, &[core])],
    };
    let opened = match nic::open(&config) {
        Err(reason @ (NicError::NoHugepages { .. } | NicError::NoHugetlbfs)) => {
            println!("without hugepages: {reason}");
            config.memory.no_huge = true;
            nic::open(&config)
        }
        other => other,
    };
    let mut nic = opened?;
    let mut queues = nic.take_queues(core)?;
    let mut burst = Burst::new();
    let (mut begin, mut turns, mut frames) = (None, 0u64, 0u64);
    let turn = move || {
        let (since, cpu) = *begin.get_or_insert_with(|| (Instant::now(), cpu_time()));
        for queue in &mut queues {
            queue.rx(&mut burst);
            frames += burst.len() as u64;
            queue.tx(&mut burst);
            queue.discard(&mut burst);
        }
        turns += 1;
        if turns % 65_536 != 0 || since.elapsed() < time {
            return Turn::Continue;
        }
        let spent = (cpu_time() - cpu).as_nanos() as f64;
        let each = spent / frames.max(1) as f64;
        println!("{frames} packets, {each:.2} ns on the CPU each, {:.1} Mpps", 1000.0 / each);
        Turn::Stop
    };
    nic.run(vec![(core, Box::new(turn))])?;
    Ok(())
}

/// What this thread has had of its CPU.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}
