//! A whole run: ports opened, the box found, clients made known, trials made.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use dataplane::port::Port as _;
use dataplane::wire::Protocol;
use dataplane::wire::ethernet::Mac;
use nic::{Memory, Nic, NicConfig, NicError, NicHandle, PortConfig, TurnFn};

use super::flows::{Flows, Kind};
use super::forge::Forge;
use super::neighbours::Neighbours;
use super::offer::Offer;
use super::report::{Report, Series};
use super::search::{self, Bounds, Verdict};
use super::station::{Gauge, Look, Plan, Sender, Station};
use super::trial::{Line, Stations, Trial};
use super::verify::{Affinity, Verify};
use crate::error::BenchError;

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As many packets as go.
    Most,
    /// Packets a second.
    Packets(f64),
    /// Bits a second on the wire: with preamble, FCS and gap.
    Bits(f64),
    /// A share of the line, 0 to 1.
    Share(f64),
}

/// What each core does.
type Turns = Vec<(usize, TurnFn)>;

/// Bytes of preamble, start of frame and gap around every frame (IEEE 802.3).
const AROUND: f64 = 20.0;

/// How long to wait for links.
const LINKS: Duration = Duration::from_secs(8);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Generate {
    /// The port that sends.
    pub tx_port: String,
    /// Ports that receive; none for the one that sends.
    pub rx_ports: Vec<String>,
    /// The CPUs: of the sender, and of the receiver if that is another one.
    pub cores: Vec<usize>,
    /// What is offered. Its number of clients is set by `clients`.
    pub offer: Offer,
    /// Numbers of clients, each measured in turn.
    pub clients: Vec<u32>,
    /// Where to send; `None` to ask for it.
    pub to: Option<Mac>,
    /// Whom to answer for.
    pub neighbours: Neighbours,
    /// How fast, or at most how fast.
    pub rate: Rate,
    /// The line's bits a second; `None` for what the port says.
    pub line: Option<f64>,
    /// How long a trial lasts.
    pub time: Duration,
    /// Whether the highest rate is searched for at which no more than `accepted_loss` is lost.
    pub search: bool,
    /// The share of packets that may be lost, 0 to 1.
    pub accepted_loss: f64,
    /// The search's resolution, as a share of the highest rate.
    pub resolution: f64,
    /// Shares of the rate at which latency is measured afterwards, 0 to 1.
    pub loads: Vec<f64>,
    /// Whether all clients send something before trials, so that they are known, and at how
    /// many packets a second.
    pub open: Option<f64>,
    /// What must stay at one server.
    pub affinity: Affinity,
    /// Whether frames are looked at, or only counted.
    pub look: bool,
    /// Frames handed to the port at once.
    pub burst: usize,
    /// Frames that each of the ports' queues holds.
    pub descriptors: u16,
    /// Ordinary memory instead of hugepages.
    pub no_huge: bool,
}

/// Who is told what happens.
pub trait Watcher: Send {
    /// Something that is done.
    fn line(&self, line: &str);
    /// How far it is, which the next one replaces.
    fn progress(&self, line: &str);
}

impl Generate {
    /// Does it.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn run(&self, watcher: Box<dyn Watcher>) -> Result<Report, BenchError> {
        if self.cores.len() > 1 && self.rx_ports.is_empty() {
            let what = "one port is served by one core: give --rx-port, or one of --cores";
            return Err(BenchError::Asked(what.to_owned()));
        }
        let mut nic = self.open()?;
        let line = self.line.or_else(|| {
            let mbps = nic.ports().first().map_or(0, |port| port.link_mbps);
            (mbps > 0).then_some(f64::from(mbps) * 1e6)
        });
        let most = self.clients.iter().copied().max().unwrap_or(1);
        let offer = Offer { clients: most, to: self.to.unwrap_or_default(), ..self.offer.clone() };
        let (stations, turns, mean_len) = self.stations(&mut nic, &offer)?;
        let rate = pps(self.rate, line, mean_len)?;
        let (plan, handle) = (self.clone(), nic.handle());
        let conductor = std::thread::spawn(move || {
            wait_for_links(&handle, &*watcher);
            plan.conduct(&stations, &offer, rate, &*watcher)
        });
        let ran = nic.run(turns);
        let report = conductor.join().unwrap_or(Err(BenchError::CoreEnded(0)));
        ran?;
        Ok(Report { line, mean_frame: mean_len, ..report? })
    }

    fn open(&self) -> Result<Nic, BenchError> {
        let mut all = self.cores.clone();
        let sender = all.first().copied().unwrap_or(0);
        let receiver = all.get(1).copied().unwrap_or(sender);
        all.truncate(2);
        let mut ports = vec![PortConfig::new("tx", &self.tx_port, &[sender])];
        for (number, device) in self.rx_ports.iter().enumerate() {
            ports.push(PortConfig::new(&format!("rx{number}"), device, &[receiver]));
        }
        for port in &mut ports {
            // Real servers are played by MAC addresses that are not the port's.
            port.promiscuous = true;
            (port.rx_descriptors, port.tx_descriptors) = (self.descriptors, self.descriptors);
        }
        let queued = u32::from(self.descriptors) * 2 * ports.len() as u32;
        let mbufs = (queued + 8192).next_power_of_two() - 1;
        let free = core_affinity::get_core_ids().unwrap_or_default();
        let free = free.iter().map(|core| core.id).find(|core| !all.contains(core));
        let mut config = NicConfig {
            memory: Memory {
                no_huge: self.no_huge,
                mib: if self.no_huge { mbufs / 128 + 128 } else { 0 },
                file_prefix: format!("director-generate-{}", std::process::id()),
            },
            main_core: free.unwrap_or(sender),
            mbufs,
            mbuf_cache: 512,
            ports,
        };
        match nic::open(&config) {
            Err(NicError::NoHugepages { .. } | NicError::NoHugetlbfs) if !self.no_huge => {
                config.memory.no_huge = true;
                config.memory.mib = mbufs / 128 + 128;
                Ok(nic::open(&config)?)
            }
            opened => Ok(opened?),
        }
    }

    /// The stations, what each core does, and the mean length of a frame with its FCS.
    fn stations(&self, nic: &mut Nic, offer: &Offer) -> Result<(Stations, Turns, f64), BenchError> {
        let (neighbours, gauge) = (Arc::new(self.neighbours.clone()), Arc::new(Gauge::default()));
        let clock = Instant::now();
        let counts: Vec<bool> =
            (0..nic.ports().len()).map(|port| port > 0 || self.rx_ports.is_empty()).collect();
        let (mut lines, mut turns, mut mean_len) = (Vec::new(), Turns::new(), 0.0);
        let sending_core = self.cores.first().copied().unwrap_or(0);
        for core in nic.cores() {
            let queues = nic.take_queues(core)?;
            let ((jobs, to_do), (done, answers)) = (channel(), channel());
            let sender = (core == sending_core).then(|| {
                let mac = queues.first().map(|queue| queue.mac()).unwrap_or_default();
                let forge = Forge::new(offer, mac);
                mean_len = forge.mean_len();
                Sender { port: 0, flows: Flows::new(offer), forge, burst: self.burst }
            });
            let look = match self.look {
                true => Look::Whole(Box::new(Verify::new(offer, self.affinity))),
                false => Look::Count,
            };
            let mut station = Station::new(Plan {
                queues,
                counts: counts.clone(),
                sender,
                look,
                neighbours: Arc::clone(&neighbours),
                gauge: Arc::clone(&gauge),
                clock,
                jobs: to_do,
                answers: done,
            });
            turns.push((core, Box::new(move || station.turn())));
            lines.push((core, Line { jobs, answers }));
        }
        let at = lines.iter().position(|(core, _)| *core == sending_core).unwrap_or(0);
        let sender = lines.remove(at).1;
        let receiver = lines.pop().map(|(_, line)| line);
        Ok((Stations { sender, receiver, gauge }, turns, mean_len))
    }

    fn conduct(
        &self,
        stations: &Stations,
        offer: &Offer,
        rate: f64,
        watcher: &dyn Watcher,
    ) -> Result<Report, BenchError> {
        let mut report = Report { offer: offer.sentence(), ..Report::default() };
        if self.to.is_none() {
            let mac = stations.find(offer.first_vip)?;
            watcher.line(&format!("{} is at {mac}", offer.first_vip));
        }
        for clients in &self.clients {
            stations.limit(*clients, offer)?;
            if let Some(rate) = self.open {
                let kinds: &[Kind] = match offer.protocol {
                    Protocol::Tcp => &[Kind::Opening, Kind::Following],
                    _ => &[Kind::Following],
                };
                let lost = stations.everyone(kinds, rate)?;
                watcher.line(&format!("{clients} client(s) made known, {lost} packet(s) lost"));
            }
            report.series.push(self.measure(stations, *clients, rate, watcher)?);
        }
        Ok(report)
    }

    fn measure(
        &self,
        stations: &Stations,
        clients: u32,
        rate: f64,
        watcher: &dyn Watcher,
    ) -> Result<Series, BenchError> {
        let mut series = Series { clients, ..Series::default() };
        let mut trial = |rate: f64| -> Result<Trial, BenchError> {
            let trial = stations.trial(rate, self.time, &|line| watcher.progress(line))?;
            watcher.line(&super::report::sentence(&trial));
            series.trials.push(trial.clone());
            Ok(trial)
        };
        let mut found = rate;
        if self.search {
            // Without a rate of its own, what comes back of all that can be sent is above the
            // rate at which nothing is lost.
            let most = match rate.is_infinite() {
                true => trial(rate)?.received_pps(),
                false => rate,
            };
            let bounds = Bounds { most, resolution: self.resolution };
            let no_drop = search::search(bounds, |rate| {
                Ok::<Verdict, BenchError>(trial(rate)?.verdict(self.accepted_loss))
            })?;
            found = no_drop.unwrap_or(0.0);
            series.no_drop_pps = Some(found);
        } else if self.loads.is_empty() || rate.is_infinite() {
            found = trial(rate)?.received_pps();
        }
        if found > 0.0 {
            for load in &self.loads {
                let trial =
                    stations.trial(found * load, self.time, &|line| watcher.progress(line))?;
                watcher.line(&super::report::sentence(&trial));
                series.loads.push((*load, trial));
            }
        }
        Ok(series)
    }
}

/// Some links come up only when the other side is there.
fn wait_for_links(handle: &NicHandle, watcher: &dyn Watcher) {
    let began = Instant::now();
    loop {
        let stats = handle.stats();
        let Some(down) = stats.ports.iter().find(|port| !port.link_up) else { return };
        if began.elapsed() > LINKS {
            return watcher.line(&format!("the link of port {} is down", down.name));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Packets a second.
fn pps(rate: Rate, line: Option<f64>, mean_len: f64) -> Result<f64, BenchError> {
    let bits = (mean_len + AROUND) * 8.0;
    Ok(match rate {
        Rate::Most => f64::INFINITY,
        Rate::Packets(pps) => pps,
        Rate::Bits(bps) => bps / bits,
        Rate::Share(share) => {
            let what = "the port does not say how fast its line is: give --line, 10G for example";
            line.ok_or_else(|| BenchError::Asked(what.to_owned()))? * share / bits
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_wire() {
        let line = Some(10e9);
        assert_eq!(pps(Rate::Share(1.0), line, 64.0).unwrap().round(), 14_880_952.0);
        assert_eq!(pps(Rate::Bits(1e9), None, 64.0).unwrap().round(), 1_488_095.0);
        assert_eq!(pps(Rate::Packets(5.0), None, 64.0).unwrap(), 5.0);
        assert!(pps(Rate::Share(0.5), None, 64.0).is_err());
    }
}
