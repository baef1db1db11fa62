//! One trial: so many packets a second for so long, and what came of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;
use serde_json::{Value, json};

use super::flows::Kind;
use super::offer::Offer;
use super::search::Verdict;
use super::station::{Answer, Gauge, Job, Received, Sent};
use crate::error::BenchError;

/// How long what is under way may take (RFC 2544, section 24).
const STRAGGLERS: Duration = Duration::from_secs(2);
/// Nothing is under way any more when nothing came for so long.
const SILENCE: Duration = Duration::from_millis(400);
/// How long the first packets may take: the box may have to find its neighbours first.
const OPENING: Duration = Duration::from_secs(4);
/// How long to ask for the box's MAC address.
const PATIENCE: Duration = Duration::from_secs(5);
/// A sender that is further below the rate that was asked for has not kept it.
const KEPT: f64 = 0.98;

/// A way to a station and back.
pub struct Line {
    /// To it.
    pub jobs: mpsc::Sender<Job>,
    /// From it.
    pub answers: mpsc::Receiver<Answer>,
}

/// The stations of a generator, as who conducts it sees them.
pub struct Stations {
    /// Who sends.
    pub sender: Line,
    /// Who receives, if it is another one.
    pub receiver: Option<Line>,
    /// How far everything is.
    pub gauge: Arc<Gauge>,
}

/// A trial's outcome.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Packets a second that were asked for; infinite for as many as go.
    pub asked: f64,
    /// What was sent.
    pub sent: Sent,
    /// What came back.
    pub received: Received,
}

impl Trial {
    /// Packets a second that were sent.
    pub fn offered_pps(&self) -> f64 {
        self.sent.packets as f64 / self.sent.time.as_secs_f64().max(1e-9)
    }

    /// Packets a second that came back.
    pub fn received_pps(&self) -> f64 {
        self.received.packets as f64 / self.sent.time.as_secs_f64().max(1e-9)
    }

    /// Packets that did not come back.
    pub fn lost(&self) -> u64 {
        self.sent.packets.saturating_sub(self.received.packets)
    }

    /// Those that did not come back, and those that the port refused, as a share of all.
    pub fn loss(&self) -> f64 {
        let all = self.sent.packets + self.sent.refused;
        (self.lost() + self.sent.refused) as f64 / all.max(1) as f64
    }

    /// Whether no more was lost than may be, at the rate that was asked for.
    pub fn verdict(&self, accepted_loss: f64) -> Verdict {
        let all = (self.sent.packets + self.sent.refused) as f64;
        let kept = all >= KEPT * self.asked * self.sent.time.as_secs_f64();
        match (self.asked.is_infinite() || kept) && self.loss() <= accepted_loss {
            true => Verdict::Passed,
            false => Verdict::Failed,
        }
    }

    /// Whether the invariants hold.
    pub fn holds(&self) -> bool {
        self.received.findings.hold()
    }

    /// As a JSON object.
    pub fn json(&self) -> Value {
        let latency = &self.received.latency;
        let micros = |ns: Option<u64>| ns.map(|ns| ns as f64 / 1000.0);
        let findings = &self.received.findings;
        let servers: Vec<Value> = self.received.servers.iter().take(1000).map(server).collect();
        json!({
            "asked_pps": self.asked.is_finite().then_some(self.asked.round()),
            "offered_pps": self.offered_pps().round(),
            "received_pps": self.received_pps().round(),
            "seconds": self.sent.time.as_secs_f64(),
            "sent": self.sent.packets,
            "refused_by_the_port": self.sent.refused,
            "received": self.received.packets,
            "received_bytes": self.received.bytes,
            "elsewhere": self.received.elsewhere,
            "late": self.received.late,
            "lost": self.lost(),
            "loss": self.loss(),
            "latency_us": {
                "min": micros(latency.min()),
                "mean": micros(latency.mean()),
                "p50": micros(latency.quantile(0.5)),
                "p99": micros(latency.quantile(0.99)),
                "p99.9": micros(latency.quantile(0.999)),
                "max": micros(latency.max()),
            },
            "looked_at": findings.seen,
            "moved": findings.moved,
            "first_client_moved": findings.first_moved,
            "overtaken": findings.overtaken,
            "doubled": findings.doubled,
            "invariants_hold": self.holds(),
            "servers": servers,
        })
    }
}

fn server((server, packets): &(super::sight::Destination, u64)) -> Value {
    let address =
        if server.v6 { Addr::v6(server.address) } else { Addr::v4(server.address as u32) };
    json!({ "mac": server.mac.to_string(), "address": address.to_string(), "packets": packets })
}

impl Stations {
    fn receiver(&self) -> &Line {
        self.receiver.as_ref().unwrap_or(&self.sender)
    }

    /// Finds the MAC address of the box, and sends there from now on.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn find(&self, address: Addr) -> Result<Mac, BenchError> {
        order(&self.sender, Job::Ask(address))?;
        let line = &self.sender;
        match line.answers.recv_timeout(PATIENCE) {
            Ok(Answer::Mac(mac)) => {
                order(line, Job::To(mac))?;
                Ok(mac)
            }
            Ok(_) => Err(BenchError::CoreEnded(0)),
            Err(_) => Err(BenchError::Asked(format!(
                "nobody says who has {address}: is the box up, and is the address one of its \
                 services' or its own? --to MAC says where to send without asking"
            ))),
        }
    }

    /// Only this many of an offer's clients send from now on.
    ///
    /// # Errors
    /// A station ended.
    pub fn limit(&self, clients: u32, offer: &Offer) -> Result<(), BenchError> {
        order(&self.sender, Job::Flows(clients.saturating_mul(offer.connections)))
    }

    /// Every flow sends one packet of each of these kinds. Answers how many were lost.
    ///
    /// # Errors
    /// A station ended.
    pub fn everyone(&self, kinds: &[Kind], rate: f64) -> Result<u64, BenchError> {
        let mut lost = 0;
        for kind in kinds {
            self.report()?;
            let sent = self.sent(Job::Everyone(*kind, rate), &|_| ())?;
            self.wait_for(sent.packets, OPENING, OPENING);
            lost += sent.packets.saturating_sub(self.report()?.packets);
        }
        Ok(lost)
    }

    /// Makes a trial. `watch` is told every second how far it is.
    ///
    /// # Errors
    /// A station ended.
    pub fn trial(
        &self,
        rate: f64,
        time: Duration,
        watch: &dyn Fn(&str),
    ) -> Result<Trial, BenchError> {
        self.report()?;
        let sent = self.sent(Job::Send(rate, time), watch)?;
        self.wait_for(sent.packets, STRAGGLERS, SILENCE);
        Ok(Trial { asked: rate, sent, received: self.report()? })
    }

    fn sent(&self, job: Job, watch: &dyn Fn(&str)) -> Result<Sent, BenchError> {
        order(&self.sender, job)?;
        let mut before = [0; 2];
        loop {
            match self.sender.answers.recv_timeout(Duration::from_secs(1)) {
                Ok(Answer::Sent(sent)) => return Ok(sent),
                Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(BenchError::CoreEnded(0));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = [&self.gauge.sent, &self.gauge.received]
                        .map(|count| count.load(Ordering::Relaxed));
                    let [sent, received] = [0, 1]
                        .map(|at| now.get(at).zip(before.get(at)).map_or(0, |(n, b)| n - b.min(n)));
                    watch(&format!(
                        "  {:.3} Mpps out, {:.3} Mpps back",
                        sent as f64 / 1e6,
                        received as f64 / 1e6
                    ));
                    before = now;
                }
            }
        }
    }

    /// Waits until so many packets are back, no more come for `silence`, or `most` is over.
    fn wait_for(&self, packets: u64, most: Duration, silence: Duration) {
        let began = Instant::now();
        let (mut last, mut changed) = (0, began);
        while began.elapsed() < most && changed.elapsed() < silence {
            let received = self.gauge.received.load(Ordering::Relaxed);
            if received >= packets {
                break;
            }
            if received != last {
                (last, changed) = (received, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn report(&self) -> Result<Received, BenchError> {
        let line = self.receiver();
        order(line, Job::Report)?;
        match line.answers.recv() {
            Ok(Answer::Received(received)) => {
                self.gauge.received.store(0, Ordering::Relaxed);
                Ok(*received)
            }
            _ => Err(BenchError::CoreEnded(1)),
        }
    }
}

impl Drop for Stations {
    fn drop(&mut self) {
        for line in std::iter::once(&self.sender).chain(&self.receiver) {
            let _ = line.jobs.send(Job::Stop);
        }
    }
}

fn order(line: &Line, job: Job) -> Result<(), BenchError> {
    line.jobs.send(job).map_err(|_| BenchError::CoreEnded(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A trial of a second.
    pub(crate) fn trial(asked: f64, sent: u64, refused: u64, back: u64) -> Trial {
        let sent = Sent { packets: sent, refused, time: Duration::from_secs(1) };
        Trial { asked, sent, received: Received { packets: back, ..Received::default() } }
    }

    #[test]
    fn what_is_lost_on_either_side_fails_a_trial() {
        assert_eq!(trial(1000.0, 1000, 0, 1000).verdict(0.0), Verdict::Passed);
        assert_eq!(trial(1000.0, 1000, 0, 999).verdict(0.0), Verdict::Failed);
        assert_eq!(trial(1000.0, 1000, 0, 999).verdict(0.001), Verdict::Passed);
        assert_eq!(trial(1000.0, 990, 10, 990).verdict(0.001), Verdict::Failed);
    }

    #[test]
    fn a_rate_that_was_not_kept_fails_a_trial() {
        assert_eq!(trial(1000.0, 900, 0, 900).verdict(0.0), Verdict::Failed);
        assert_eq!(trial(f64::INFINITY, 900, 0, 900).verdict(0.0), Verdict::Passed);
    }

    #[test]
    fn the_json_has_what_people_ask_for() {
        let mut trial = trial(1e6, 100, 0, 90);
        trial.received.latency.add(5_000);
        let json = trial.json();
        assert_eq!((&json["lost"], &json["loss"]), (&json!(10), &json!(0.1)));
        assert_eq!(json["latency_us"]["p99"], 5.0);
        assert_eq!(json["invariants_hold"], true);
    }
}
