//! One core of the generator: it sends in time, receives, and answers for the neighbours it
//! plays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use dataplane::port::{Frame, Port};
use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;
use nic::{MbufFrame, Queue, Turn};

use super::flows::{Flows, Kind};
use super::forge::Forge;
use super::histogram::Histogram;
use super::neighbours::{self, Neighbours};
use super::pace::Pace;
use super::sight;
use super::sight::Destination;
use super::stamp::STEP_NS;
use super::verify::{Findings, Verify};

/// Frames received in one call.
const RECEIVED_AT_ONCE: usize = 256;

/// What a station is told to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    /// Ask who has this address until somebody says so. Answered with [`Answer::Mac`].
    Ask(Addr),
    /// Send to this MAC address from now on.
    To(Mac),
    /// Only this many of the flows send from now on.
    Flows(u32),
    /// Every flow sends one packet of this kind, so many a second. Answered with
    /// [`Answer::Sent`].
    Everyone(Kind, f64),
    /// Send so many packets a second for so long. Answered with [`Answer::Sent`].
    Send(f64, Duration),
    /// Tell what came back since the last report. Answered with [`Answer::Received`]. What was
    /// sent before and comes later than this is [`Received::late`].
    Report,
    /// The end.
    Stop,
}

/// What a station answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Somebody is at this MAC address.
    Mac(Mac),
    /// All was sent.
    Sent(Sent),
    /// What came back.
    Received(Box<Received>),
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sent {
    /// Packets that the port took.
    pub packets: u64,
    /// Packets that it did not: its queue was full.
    pub refused: u64,
    /// How long it took.
    pub time: Duration,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Generated packets.
    pub packets: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Generated packets that came out of the sending port although others receive.
    pub elsewhere: u64,
    /// Packets of an earlier trial, which had been counted as lost there. They count nowhere
    /// else: a trial's losses must not be hidden by what another one left under way. Zero
    /// where frames are only counted ([`Look::Count`]).
    pub late: u64,
    /// How long they took.
    pub latency: Histogram,
    /// Whether the invariants hold.
    pub findings: Findings,
    /// How many packets each server got, the busiest first.
    pub servers: Vec<(Destination, u64)>,
}

/// How far everything is, for those who watch.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets received.
    pub received: AtomicU64,
}

/// The sending half of a station.
pub struct Sender {
    /// The port, by its number.
    pub port: usize,
    /// Which flow is next.
    pub flows: Flows,
    /// Its frames.
    pub forge: Forge,
    /// Frames handed to the port in one call at the most.
    pub burst: usize,
}

/// What the receiving half does with a frame.
pub enum Look {
    /// It is only counted: nothing that could slow the generator down.
    Count,
    /// It is looked at, its invariants and its age.
    Whole(Box<Verify>),
}

/// What is being sent.
enum Sending {
    Nothing,
    Everyone(Kind, Pace),
    For(Pace, u64),
}

/// One core.
pub struct Station {
    queues: Vec<Queue>,
    /// By port: whether what comes from it has gone through the box.
    counts: Vec<bool>,
    sender: Option<Sender>,
    look: Look,
    neighbours: Arc<Neighbours>,
    gauge: Arc<Gauge>,
    clock: Instant,
    jobs: mpsc::Receiver<Job>,
    answers: mpsc::Sender<Answer>,
    sending: Sending,
    began: u64,
    /// The last report's time, in steps of [`STEP_NS`].
    reported: u32,
    sent: Sent,
    unlimited: bool,
    asked: Option<(Addr, u64)>,
    received: Received,
    outgoing: Vec<MbufFrame>,
    incoming: Vec<MbufFrame>,
    replies: Vec<MbufFrame>,
}

/// How a station is made.
pub struct Plan {
    /// Its queues, one for every port.
    pub queues: Vec<Queue>,
    /// By port: whether what comes from it has gone through the box.
    pub counts: Vec<bool>,
    /// What it sends, if it does.
    pub sender: Option<Sender>,
    /// What it does with what it receives.
    pub look: Look,
    /// Whom it answers for.
    pub neighbours: Arc<Neighbours>,
    /// Where it shows how far it is.
    pub gauge: Arc<Gauge>,
    /// The clock that all stations share.
    pub clock: Instant,
    /// What it is told to do.
    pub jobs: mpsc::Receiver<Job>,
    /// Where it answers.
    pub answers: mpsc::Sender<Answer>,
}

/// Whether a frame is ARP or Neighbour Discovery, without options or tags.
#[inline]
fn is_neighbours(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xDD]) => frame.get(20) == Some(&58),
        _ => false,
    }
}

/// How long to wait before a question is asked again.
const ASK_AGAIN_NS: u64 = 200_000_000;

impl Station {
    /// A station that does nothing yet.
    pub fn new(plan: Plan) -> Self {
        let burst = plan.sender.as_ref().map_or(0, |sender| sender.burst);
        Self {
            queues: plan.queues,
            counts: plan.counts,
            sender: plan.sender,
            look: plan.look,
            neighbours: plan.neighbours,
            gauge: plan.gauge,
            clock: plan.clock,
            jobs: plan.jobs,
            answers: plan.answers,
            sending: Sending::Nothing,
            began: 0,
            reported: 0,
            sent: Sent::default(),
            unlimited: false,
            asked: None,
            received: Received::default(),
            outgoing: Vec::with_capacity(burst),
            incoming: Vec::with_capacity(RECEIVED_AT_ONCE),
            replies: Vec::with_capacity(RECEIVED_AT_ONCE),
        }
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// One turn.
    pub fn turn(&mut self) -> Turn {
        match self.jobs.try_recv() {
            Ok(Job::Stop) | Err(TryRecvError::Disconnected) => return Turn::Stop,
            Ok(job) => self.begin(job),
            Err(TryRecvError::Empty) => {}
        }
        for port in 0..self.queues.len() {
            self.receive(port);
        }
        if !matches!(self.sending, Sending::Nothing) {
            self.send();
        }
        if let Some((address, at)) = self.asked
            && self.now() >= at
        {
            self.ask(address);
        }
        Turn::Continue
    }

    fn begin(&mut self, job: Job) {
        let now = self.now();
        self.began = now;
        match job {
            Job::Ask(address) => self.ask(address),
            Job::To(mac) => {
                if let Some(sender) = &mut self.sender {
                    sender.forge.send_to(mac);
                }
            }
            Job::Flows(flows) => {
                if let Some(sender) = &mut self.sender {
                    sender.flows.limit(flows);
                }
            }
            Job::Everyone(kind, rate) => {
                if let Some(sender) = &mut self.sender {
                    sender.flows.begin_turn();
                }
                self.sent = Sent::default();
                self.unlimited = rate.is_infinite();
                self.sending = Sending::Everyone(kind, Pace::new(rate, now));
            }
            Job::Send(rate, time) => {
                self.sent = Sent::default();
                self.unlimited = rate.is_infinite();
                let end = now.saturating_add(time.as_nanos() as u64);
                self.sending = Sending::For(Pace::new(rate, now), end);
            }
            Job::Report => {
                let mut report = std::mem::take(&mut self.received);
                self.reported = (now / STEP_NS) as u32;
                if let Look::Whole(verify) = &mut self.look {
                    report.findings = verify.findings();
                    report.servers = verify.servers();
                    verify.begin();
                }
                let _ = self.answers.send(Answer::Received(Box::new(report)));
            }
            Job::Stop => {}
        }
    }

    /// Asks who has an address, on the sending port.
    fn ask(&mut self, address: Addr) {
        self.asked = Some((address, self.now() + ASK_AGAIN_NS));
        let Some(queue) = self.sender.as_ref().and_then(|s| self.queues.get_mut(s.port)) else {
            return;
        };
        let mac = queue.mac();
        if let Some(mut frame) = queue.alloc(0)
            && neighbours::question(&mut frame, &self.neighbours, address, mac)
        {
            // The shortest frame that Ethernet has.
            if frame.bytes().len() < 60 {
                let len = frame.bytes().len();
                if frame.set_len(60) {
                    frame.bytes_mut().iter_mut().skip(len).for_each(|byte| *byte = 0);
                }
            }
            let mut frames = vec![frame];
            queue.tx_many(&mut frames);
        }
    }

    fn send(&mut self) {
        let now = self.now();
        let Some(sender) = &mut self.sender else { return };
        let Some(queue) = self.queues.get_mut(sender.port) else { return };
        let due = match &mut self.sending {
            Sending::Nothing => 0,
            Sending::For(_, end) if now >= *end => 0,
            Sending::Everyone(_, pace) | Sending::For(pace, _) => pace.due(now, sender.burst),
        };
        let more = due.saturating_sub(self.outgoing.len());
        let have = self.outgoing.len();
        if more > 0 && queue.alloc_many(&mut self.outgoing, more) {
            let time = (now / STEP_NS) as u32;
            let mut written = have;
            for frame in self.outgoing.iter_mut().skip(have) {
                let next = match &self.sending {
                    Sending::Everyone(kind, _) => {
                        sender.flows.next_in_turn().map(|(flow, place)| (flow, place, *kind))
                    }
                    _ => Some(sender.flows.next()),
                };
                let Some((flow, place, kind)) = next else { break };
                if !sender.forge.write(frame, flow, place, kind, time) {
                    break;
                }
                written += 1;
            }
            self.outgoing.truncate(written);
        }
        let offered = self.outgoing.len();
        self.sent.packets += queue.tx_many(&mut self.outgoing) as u64;
        // At a rate of its own a full queue is a loss. Otherwise it is what sets the rate.
        let goes_on = self.unlimited || matches!(self.sending, Sending::Everyone(..));
        if !goes_on && !self.outgoing.is_empty() {
            self.sent.refused += self.outgoing.len() as u64;
            queue.discard_many(&mut self.outgoing);
        }
        self.gauge.sent.store(self.sent.packets, Ordering::Relaxed);
        let ended = match &self.sending {
            Sending::Nothing => false,
            Sending::Everyone(..) => due > 0 && offered == 0,
            Sending::For(_, end) => now >= *end,
        };
        if ended {
            self.sent.time = Duration::from_nanos(now - self.began);
            queue.discard_many(&mut self.outgoing);
            self.sending = Sending::Nothing;
            let _ = self.answers.send(Answer::Sent(self.sent));
        }
    }

    fn receive(&mut self, port: usize) {
        let Some(queue) = self.queues.get_mut(port) else { return };
        if queue.rx_many(&mut self.incoming) == 0 {
            return;
        }
        let counts = self.counts.get(port).copied().unwrap_or(false);
        match &mut self.look {
            Look::Count if counts && !self.incoming.iter().any(|f| is_neighbours(f.bytes())) => {
                self.received.packets += self.incoming.len() as u64;
                self.received.bytes +=
                    self.incoming.iter().map(|frame| frame.bytes().len() as u64).sum::<u64>();
            }
            _ => self.look_at_all(port, counts),
        }
        self.gauge.received.store(self.received.packets, Ordering::Relaxed);
        if let Some(queue) = self.queues.get_mut(port) {
            queue.discard_many(&mut self.incoming);
            if !self.replies.is_empty() {
                queue.tx_many(&mut self.replies);
                queue.discard_many(&mut self.replies);
            }
        }
    }

    fn look_at_all(&mut self, port: usize, counts: bool) {
        let now = (self.clock.elapsed().as_nanos() as u64 / STEP_NS) as u32;
        let mac = self.queues.get(port).map(Port::mac).unwrap_or_default();
        let mut frames = std::mem::take(&mut self.incoming);
        let mut at = 0;
        while let Some(frame) = frames.get(at) {
            match sight::read(frame.bytes()) {
                Some(sight) if counts && sight.stamp.is_before(self.reported) => {
                    self.received.late += 1;
                }
                Some(sight) if counts => {
                    self.received.packets += 1;
                    self.received.bytes += frame.bytes().len() as u64;
                    self.received.latency.add(sight.stamp.age_ns(now));
                    if let Look::Whole(verify) = &mut self.look {
                        verify.see(&sight);
                    }
                }
                Some(_) => self.received.elsewhere += 1,
                None => {
                    // The others keep their order, which is looked at.
                    self.hear(frames.remove(at), mac);
                    continue;
                }
            }
            at += 1;
        }
        self.incoming = frames;
    }

    /// A frame that was not generated here: a question or an answer, or nothing to us.
    #[cold]
    fn hear(&mut self, mut frame: MbufFrame, mac: Mac) {
        if let Some((address, _)) = self.asked
            && let Some(told) = neighbours::told(frame.bytes(), address)
        {
            self.asked = None;
            let _ = self.answers.send(Answer::Mac(told));
        }
        if self.neighbours.answer(&mut frame, mac) {
            self.replies.push(frame);
        }
    }
}
