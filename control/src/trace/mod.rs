//! `director trace` and `director capture`: live packets with what became of them.
//!
//! ```text
//! director trace -> control socket -> control thread -> an order for every core
//!       ^---- asks again and again <- records of the order's ring <---'
//! ```
//!
//! Whoever traces asks for the records a batch at a time. Who stops asking, by whatever
//! accident, is forgotten after some seconds, and the cores go on as before.

pub mod client;
mod hex;
pub mod pcapng;
pub mod session;

use std::sync::Arc;

use dataplane::trace::{Filter, Outcome, Wanted};
use dataplane::verdict::DropReason;
use dataplane::wire::Addr;
use serde::{Deserialize, Serialize};

use crate::page::Network;

/// What is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// A network: packets from and to its addresses.
    pub client: Option<Network>,
    /// A service's name.
    pub service: Option<String>,
    /// A verdict's word, or a drop reason's label.
    pub verdict: Option<String>,
    /// Bytes of each frame that are told.
    pub snaplen: u32,
    /// Frames that each core looks at per second.
    pub rate: u32,
}

/// Frames that a core looks at per second, at the most.
pub const MOST_RATE: u32 = 100_000;
/// Bytes of a frame that are told, at the most.
pub const MOST_SNAPLEN: u32 = 65_535;

/// The words of verdicts.
const VERDICTS: [(&str, Wanted); 6] = [
    ("forward", Wanted::Forwarded),
    ("answer", Wanted::Answered),
    ("kernel", Wanted::ToKernel),
    ("punt", Wanted::Punted),
    ("hold", Wanted::Held),
    ("drop", Wanted::Dropped(None)),
];

impl Question {
    /// The filter that is meant.
    ///
    /// # Errors
    /// A sentence about the part that cannot be read.
    pub fn filter(&self) -> Result<Filter, String> {
        Ok(Filter {
            client: self
                .client
                .map(|Network { address, length }| (Addr::from(address).masked(length), length)),
            service: self.service.as_deref().map(Arc::from),
            wanted: self.verdict.as_deref().map_or(Ok(Wanted::Any), wanted)?,
        })
    }
}

/// The frames that a word stands for: a verdict, or a reason for a drop.
///
/// # Errors
/// A sentence with all words.
pub(crate) fn wanted(word: &str) -> Result<Wanted, String> {
    if let Some((_, wanted)) = VERDICTS.iter().find(|(name, _)| *name == word) {
        return Ok(*wanted);
    }
    let reason = DropReason::ALL.iter().find(|reason| reason.label() == word);
    reason.map(|reason| Wanted::Dropped(Some(*reason))).ok_or_else(|| {
        let words: Vec<&str> = VERDICTS.iter().map(|(name, _)| *name).collect();
        let reasons: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        format!(
            "'{word}' is no verdict: write {}, or a reason for a drop: {}",
            words.join(", "),
            reasons.join(", ")
        )
    })
}

/// The verdict in words, as `director replay` says them.
pub fn verdict(outcome: Outcome) -> String {
    match outcome {
        Outcome::Forwarded(_) => "forwarded".to_owned(),
        Outcome::Answered => "answered".to_owned(),
        Outcome::ToKernel => "to the kernel".to_owned(),
        Outcome::Punted => "punted".to_owned(),
        Outcome::Held => "held".to_owned(),
        Outcome::Dropped(reason) => format!("dropped: {}", reason.label()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_and_every_drop_reason_has_a_word() {
        assert_eq!(wanted("drop"), Ok(Wanted::Dropped(None)));
        for reason in DropReason::ALL {
            assert_eq!(wanted(reason.label()), Ok(Wanted::Dropped(Some(*reason))));
        }
        let error = wanted("dropped").unwrap_err();
        assert!(error.contains("forward, answer, kernel, punt, hold, drop"), "{error}");
    }
}
