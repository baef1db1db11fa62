//! End to end through another process: the generator on one CPU, a box on another one, and
//! `net_memif` between them. The box is Director, or testpmd's macswap on the same set-up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::reference::TESTPMD;
use crate::round::median;

/// Clients.
const CLIENTS: u32 = 65_536;
/// Real servers.
const SERVERS: u32 = 100;
/// How long the generator sends in a round.
const TIME: &str = "2";
/// How long a box may take to open its port.
const PATIENCE: Duration = Duration::from_secs(15);

/// A box that is ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Which box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Director,
    Macswap,
}

/// Million packets a second that come back from either box, in rounds of both in turn:
/// medians, all rounds, and how much of macswap's Director's are.
///
/// # Errors
/// A program that does not run or a box that sends nothing back, in a sentence.
pub fn compare(director: &Path, rounds: u32, cpus: [usize; 2]) -> Result<Value, String> {
    let mut speeds = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (device, speeds) in [Device::Macswap, Device::Director].into_iter().zip(&mut speeds) {
            let speed = speed(director, device, round, cpus)?;
            speeds.push(speed);
        }
    }
    let [macswap, ours] = &speeds;
    let of = |speeds: &[f64]| median(speeds.iter().copied()).unwrap_or(0.0);
    let (reference, own) = (of(macswap), of(ours));
    if reference <= 0.0 || own <= 0.0 {
        return Err("nothing came back".to_owned());
    }
    let ratio = own / reference;
    Ok(json!({
        "load": format!("memif, {CLIENTS} clients, {SERVERS} servers, tracking client, frames of 64"),
        "mpps": own,
        "reference_mpps": reference,
        // A polling core's packet takes as long as it has until the next one.
        "ns_per_packet": 1000.0 / own,
        "reference_ns": 1000.0 / reference,
        "ratio": ratio,
        "rounds_mpps": ours,
        "reference_rounds_mpps": macswap,
        "complete": true,
    }))
}

/// Latency over load through Director, as a plot in this folder.
///
/// # Errors
/// See [`compare`].
pub fn latency(director: &Path, plots: &Path, cpus: [usize; 2]) -> Result<(), String> {
    let plots = plots.display().to_string();
    let more = ["--seconds", "2", "--loads", "5,10,25,50,75,90,100", "--plots", &plots];
    through(director, Device::Director, 0, cpus, &more).map(|_| ())
}

fn speed(director: &Path, device: Device, round: u32, cpus: [usize; 2]) -> Result<f64, String> {
    let more = ["--seconds", TIME, "--count-only"];
    let result = through(director, device, round, cpus, &more)?;
    let pps = result.pointer("/series/0/throughput_pps").and_then(Value::as_f64);
    pps.map(|pps| pps / 1e6).ok_or_else(|| "director generate tells no rate".to_owned())
}

/// What the generator says of a box.
fn through(
    director: &Path,
    device: Device,
    round: u32,
    cpus: [usize; 2],
    more: &[&str],
) -> Result<Value, String> {
    let name = format!("director-memif-{}-{round}-{device:?}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let said = |error: std::io::Error| format!("{}: {error}", folder.0.display());
    fs::create_dir_all(&folder.0).map_err(said)?;
    let socket = folder.0.join("memif.sock");
    let log = fs::File::create(folder.0.join("log")).map_err(said)?;
    let mut command = match device {
        Device::Director => {
            let file = folder.0.join("director.yaml");
            fs::write(&file, yaml(&folder.0, &socket, cpus)).map_err(said)?;
            let mut command = Command::new(director);
            command.arg("run").arg("-c").arg(file).env("RUNTIME_DIRECTORY", &folder.0);
            command
        }
        Device::Macswap => testpmd(&socket, cpus),
    };
    let also = log.try_clone().map_err(said)?;
    // testpmd ends with its standard input.
    command.stdin(Stdio::piped()).stdout(log).stderr(also);
    let spawned = command.spawn().map_err(|error| format!("{device:?} does not start: {error}"))?;
    let mut running = Running(spawned);
    let began = Instant::now();
    while !socket.exists() {
        let ended = matches!(running.0.try_wait(), Ok(Some(_)));
        if ended || began.elapsed() > PATIENCE {
            let log = fs::read_to_string(folder.0.join("log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or("it said nothing").to_owned();
            return Err(format!("{device:?} opened no port: {last}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    generate(director, device, &socket, cpus, more)
}

fn generate(
    director: &Path,
    device: Device,
    socket: &Path,
    [first, _]: [usize; 2],
    more: &[&str],
) -> Result<Value, String> {
    let mut command = Command::new(director);
    let port = format!(
        "net_memif0,role=client,id=0,socket={},socket-abstract=no,zero-copy=no,rsize=11",
        socket.display()
    );
    command.args(["generate", "--tx-port", &port, "--cores", &first.to_string()]);
    command.args(["--burst", "256", "--descriptors", "2048", "--json"]).args(more);
    command.args(["--vip", "198.18.0.1:80", "--clients", &CLIENTS.to_string()]);
    command.args(["--servers", "198.19.0.0/16"]);
    if device == Device::Macswap {
        // It answers no questions and remembers nobody.
        command.args(["--to", "02:00:00:00:00:01", "--open", "0"]);
    }
    let output = command.output().map_err(|error| format!("director generate: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).map_err(|_| {
        format!("director generate: {}", said.lines().last().unwrap_or("it said nothing"))
    })
}

/// testpmd on the server's end of the memif, as it is fastest.
fn testpmd(socket: &Path, [first, second]: [usize; 2]) -> Command {
    let mut command = Command::new(TESTPMD);
    command.arg(format!("--lcores=0@{first},1@{second}"));
    command.args(["--no-pci", "--single-file-segments", "--no-telemetry"]);
    command.arg(format!("--file-prefix=memif-testpmd-{}", std::process::id()));
    command.arg(format!(
        "--vdev=net_memif0,role=server,id=0,socket={},socket-abstract=no,rsize=11",
        socket.display()
    ));
    command.args(["--", "-i", "--nb-cores=1", "-a", "--forward-mode=macswap", "--burst=32"]);
    command.args(["--total-num-mbufs=32767", "--mbcache=256", "--port-topology=loop"]);
    command
}

fn yaml(folder: &Path, socket: &Path, [first, second]: [usize; 2]) -> String {
    let servers: String =
        (1..=SERVERS).map(|number| format!("      - {{ address: 198.19.0.{number} }}\n")).collect();
    let (folder, socket) = (folder.display(), socket.display());
    let prefix = std::process::id();
    format!(
        "ports:\n  - name: lan0\n    device: \"net_memif0,role=server,id=0,socket={socket},\
         socket-abstract=no,rsize=11\"\n    cores: [{second}]\n    \
         addresses: [198.18.255.253/16, 198.19.255.253/16]\n\
         services:\n  - vip: 198.18.0.1\n    protocol: tcp\n    vip_port: 80\n    \
         scheduler: wlc\n    persistence: 360\n    tracking: client\n    real_servers:\n{servers}\
         memory: {{ mbufs: 32767, file_prefix: memif-director-{prefix} }}\n\
         tables: {{ clients: 128k }}\ncontrol: {{ socket: {folder}/control.sock }}\n\
         main_core: {first}\n"
    )
}
