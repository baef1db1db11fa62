//! What a bench found, as text and as JSON.

use std::fmt::Write as _;

use dataplane::counters::CoreTotals;
use serde_json::{Value, json};

use crate::conduct::{Disturbed, Rounds};
use crate::load::Load;
use crate::round::{Round, median};

/// See the module.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was sent.
    pub load: Load,
    /// The CPUs that balanced.
    pub cores: Vec<usize>,
    /// The rounds.
    pub rounds: Rounds,
    /// Whether DPDK had hugepages; `None` without DPDK.
    pub huge: Option<bool>,
    /// The director's counters at the end.
    pub totals: CoreTotals,
}

impl Outcome {
    /// The median of the rounds' nanoseconds on the CPU for each packet, and of the cores'.
    pub fn ns_per_packet(&self) -> Option<f64> {
        let rounds = self.rounds.director.iter();
        median(rounds.filter_map(|cores| median(cores.iter().map(Round::ns_per_packet))))
    }

    /// The median of the reference's rounds.
    pub fn reference_ns(&self) -> Option<f64> {
        median(self.rounds.reference.iter().map(Round::ns_per_packet))
    }

    /// How fast the director is against the reference; 1 is as fast.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.reference_ns()? / self.ns_per_packet()?)
    }

    /// The median of the rounds' million packets a second, all cores together.
    pub fn mpps(&self) -> Option<f64> {
        median(self.rounds.director.iter().map(|cores| cores.iter().map(Round::mpps).sum()))
    }

    /// The longest time between two polls in the rounds, in microseconds; `None` where it
    /// was not looked for or was too short to be of interest.
    pub fn longest_gap_us(&self) -> Option<f64> {
        let longest = self.rounds.director.iter().flatten().map(Round::longest_gap).max()?;
        (!longest.is_zero()).then_some(longest.as_secs_f64() * 1e6)
    }

    /// The longest time between two polls while control did something, in microseconds: the
    /// median over rounds, which is what every round has and not what befell one of them.
    pub fn pause_us(&self) -> Option<f64> {
        self.disturbed(|one| one.pause.as_secs_f64() * 1e6)
    }

    /// The same of as much time before, in which control did nothing: the machine's own pauses.
    pub fn pause_before_us(&self) -> Option<f64> {
        self.disturbed(|one| one.pause_before.as_secs_f64() * 1e6)
    }

    fn disturbed(&self, figure: impl Fn(&Disturbed) -> f64) -> Option<f64> {
        median(self.rounds.disturbed.iter().map(figure))
    }

    /// The longest time, in milliseconds, until every core worked with what control did.
    pub fn live_in_ms(&self) -> Option<f64> {
        let longest = self.rounds.disturbed.iter().map(|one| one.live_in).max();
        longest.map(|time| time.as_secs_f64() * 1e3)
    }

    /// Packets that reached no real server, in all rounds.
    pub fn lost(&self) -> u64 {
        self.rounds.director.iter().flatten().map(Round::lost_packets).sum()
    }

    fn each(&self, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        median(self.rounds.director.iter().flatten().map(figure))
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let rounds: Vec<Vec<f64>> = self
            .rounds
            .director
            .iter()
            .map(|cores| cores.iter().map(|round| rounded(round.ns_per_packet())).collect())
            .collect();
        json!({
            "load": self.load.sentence(),
            "cores": self.cores,
            "ns_per_packet": self.ns_per_packet().map(rounded),
            "reference_ns": self.reference_ns().map(rounded),
            "ratio": self.ratio().map(rounded),
            "mpps": self.mpps().map(rounded),
            "burst": self.each(Round::burst).map(rounded),
            "cpu_share": self.each(Round::share).map(rounded),
            "longest_gap_us": self.longest_gap_us().map(rounded),
            "pause_us": self.pause_us().map(rounded),
            "pause_before_us": self.pause_before_us().map(rounded),
            "live_in_ms": self.live_in_ms().map(rounded),
            "lost": self.lost(),
            "rounds_ns": rounds,
            "discarded_rounds": self.rounds.discarded,
            "complete": self.rounds.complete,
            "memory": memory(self.huge),
            "received": self.totals.received,
            "forwarded": self.totals.forwarded,
            "dropped": self.totals.dropped_total(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.load.sentence());
        let Some(ns) = self.ns_per_packet() else {
            text += "nothing was measured\n";
            return text;
        };
        let _ = writeln!(
            text,
            "{ns:.2} ns/packet on the CPU, {:.1} Mpps on {} core(s), burst {:.1}, CPU share {:.3}, {}",
            self.mpps().unwrap_or_default(),
            self.cores.len(),
            self.each(Round::burst).unwrap_or_default(),
            self.each(Round::share).unwrap_or_default(),
            memory(self.huge)
        );
        if let (Some(reference), Some(ratio)) = (self.reference_ns(), self.ratio()) {
            let _ = writeln!(
                text,
                "testpmd {reference:.2} ns/packet in the same rounds: ratio {ratio:.3}"
            );
        }
        if let Some(gap) = self.longest_gap_us() {
            let _ = writeln!(text, "{gap:.1} us between two polls at the longest");
        }
        if let Some(live) = self.live_in_ms() {
            let _ = writeln!(
                text,
                "{live:.1} ms until every core worked with it, {} packet(s) lost; {:.1} us between \
                 two polls at the longest meanwhile, {:.1} us in as much time before (medians of \
                 rounds)",
                self.lost(),
                self.pause_us().unwrap_or_default(),
                self.pause_before_us().unwrap_or_default(),
            );
        }
        if !self.rounds.complete {
            text += "rough: too few rounds had 0.95 of their CPU. The machine is busy; start it \
                     again, or through\nscripts/bench, which asks the kernel for priority\n";
        } else if self.rounds.discarded > 0 {
            let discarded = self.rounds.discarded;
            let _ =
                writeln!(text, "{discarded} round(s) more had too little CPU and were discarded");
        }
        text
    }
}

const fn memory(huge: Option<bool>) -> &'static str {
    match huge {
        Some(true) => "hugepages",
        Some(false) => "no hugepages",
        None => "no DPDK",
    }
}

/// To a thousandth: more digits say nothing.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
