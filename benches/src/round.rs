//! One measured span of time of one core, and what many of them say together.

use std::time::Duration;

use dataplane::counters::CoreTotals;

use crate::gap::Gap;

/// Below this share of the CPU a round says more about its neighbours than about itself.
pub const LEAST_SHARE: f64 = 0.95;

/// One round of one core.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Packets received.
    pub packets: u64,
    /// Time on the CPU.
    pub on_cpu: Duration,
    /// Time on the wall.
    pub wall: Duration,
    /// Polls that received something.
    pub bursts: u64,
    /// Times between two polls that are of interest, where they were looked for.
    pub gaps: Vec<Gap>,
    /// Packets that did not leave for a real server, with the reasons.
    pub lost: Vec<(&'static str, u64)>,
}

impl Round {
    /// Nanoseconds on the CPU for each packet; infinite without packets.
    pub fn ns_per_packet(&self) -> f64 {
        if self.packets == 0 {
            return f64::INFINITY;
        }
        self.on_cpu.as_nanos() as f64 / self.packets as f64
    }

    /// Million packets each second on the wall.
    pub fn mpps(&self) -> f64 {
        self.packets as f64 / self.wall.as_secs_f64().max(1e-9) / 1e6
    }

    /// The share of the CPU that the thread had, 0 to 1.
    pub fn share(&self) -> f64 {
        self.on_cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    /// Packets in a poll that received any.
    pub fn burst(&self) -> f64 {
        self.packets as f64 / self.bursts.max(1) as f64
    }

    /// The longest time between two polls that this core saw while it had the CPU; zero where
    /// none was of interest.
    pub fn longest_gap(&self) -> Duration {
        self.gaps.iter().map(|gap| gap.own).max().unwrap_or_default()
    }

    /// Packets that did not leave for a real server.
    pub fn lost_packets(&self) -> u64 {
        self.lost.iter().map(|(_, packets)| packets).sum()
    }
}

/// What did not leave for a real server between two readings of the counters.
pub fn lost(before: &CoreTotals, after: &CoreTotals) -> Vec<(&'static str, u64)> {
    let mut lost: Vec<_> = dataplane::verdict::DropReason::ALL
        .iter()
        .map(|reason| (reason.label(), after.dropped_for(*reason) - before.dropped_for(*reason)))
        .collect();
    lost.push(("unsent", after.unsent - before.unsent));
    lost.push(("punted", after.punted - before.punted));
    lost.push(("answered", after.answered - before.answered));
    lost.retain(|(_, packets)| *packets > 0);
    lost
}

/// The middle one of several figures; of two, the mean. `None` of none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted.get(middle - 1)? + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_few_figures() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_round_that_was_kept_waiting_costs_what_it_cost_on_the_cpu() {
        let round = Round {
            packets: 1_000,
            on_cpu: Duration::from_millis(50),
            wall: Duration::from_millis(100),
            ..Round::default()
        };
        assert!((round.ns_per_packet() - 50_000.0).abs() < 1e-6);
        assert!((round.share() - 0.5).abs() < 1e-9);
        assert!(Round::default().ns_per_packet().is_infinite());
    }
}
