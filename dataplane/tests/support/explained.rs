//! Whether what is foretold of a packet is what is then done with it.

// Every test binary uses its own part of this file.
#![allow(dead_code)]
#![allow(clippy::panic)]

use dataplane::director::Director;
use dataplane::explain::{Because, Explanation, Fate};
use dataplane::forward::Forwarding;
use dataplane::ids::PortIndex;
use dataplane::port::Frame;
use dataplane::tick::Tick;
use dataplane::verdict::{DropReason, Verdict};
use dataplane::wire::{Parsed, Protocol, ethernet, parse};

/// Hands a frame in, and holds what was said of it before against what is done.
///
/// # Panics
/// If one contradicts the other.
pub fn handle(
    director: &mut Director,
    frame: &mut impl Frame,
    port: PortIndex,
    now: Tick,
) -> Verdict {
    let tallies = |director: &Director| {
        director.counters().map_or((0, 0), |of| (of.answered.get(), of.to_kernel.get()))
    };
    let came = frame.bytes().to_vec();
    let story = director.explain(&came, port, now);
    let before = tallies(director);
    let verdict = director.handle(frame, port, now);
    let after = tallies(director);
    let done = (verdict, after.0 > before.0, after.1 > before.1);
    if let Err(why) = contradiction(&story, done, frame.bytes()) {
        let packet = parse(&came);
        panic!(
            "{why}: foretold {:?}, done {done:?}\n{packet:?}\n{came:02X?}\nsent {:02X?}",
            story.fate,
            frame.bytes()
        );
    }
    verdict
}

fn contradiction(
    story: &Explanation,
    (verdict, answered, to_kernel): (Verdict, bool, bool),
    frame: &[u8],
) -> Result<(), &'static str> {
    let local = Forwarding::Local.word();
    let says = |words: &[&str]| match &story.fate {
        Fate::Not(sentence) => words.iter().any(|word| sentence.contains(word)),
        _ => false,
    };
    let is_hosts = matches!(story.fate, Fate::Host(_));
    let is_local = matches!(story.fate, Fate::Real { forwarding, .. } if forwarding == local);
    let goes_on = matches!(story.fate, Fate::Real { .. } | Fate::Reply { .. });
    let holds = match verdict {
        _ if to_kernel => {
            matches!(story.fate, Fate::Kernel { .. }) || is_local || says(&["kernel"])
        }
        // What was to go on may turn out to be too long or too old.
        _ if answered => is_hosts || goes_on || says(&["sent on"]),
        Verdict::Forward(_) => match &story.fate {
            // A connection that is over and makes room now counts when the scheduler is asked
            // beforehand.
            Fate::Real { because: Because::Scheduler(_), .. } => true,
            Fate::Real { mac, .. } => *mac == ethernet::destination(frame),
            Fate::Reply { from } => {
                let Parsed::Packet(packet) = parse(frame) else { return Err("no packet is sent") };
                from.is_none_or(|from| {
                    packet.src == from.address
                        || matches!(packet.protocol, Protocol::Icmp | Protocol::Icmpv6)
                })
            }
            Fate::Kernel { .. } | Fate::Host(_) => false,
            Fate::Not(_) => says(&["sent on", "told to the client", "makes it one", "as it is"]),
        },
        Verdict::Fragment(_) | Verdict::Hold(..) | Verdict::Seek(..) => {
            goes_on || says(&["sent on", "told to the client"])
        }
        Verdict::Early => says(&["fragment"]),
        Verdict::Punt => is_hosts || says(&["no IP"]),
        Verdict::Drop(reason) => match &story.fate {
            Fate::Not(sentence) => {
                *sentence == reason.sentence()
                    || says(&["dropped", "kernel-facing port if", "sent on"])
                    || says(&["told to"]) && is_of_answers(reason)
            }
            Fate::Host(_) => is_of_answers(reason),
            Fate::Kernel { .. } => false,
            Fate::Real { .. } => reason.is_of_chosen(),
            Fate::Reply { .. } => reason.is_of_chosen(),
        },
    };
    if !holds {
        return Err("one thing was said and another done");
    }
    let mut settled = story.clone();
    match verdict {
        Verdict::Drop(reason) => settled.dropped(reason),
        _ if answered => settled.answered(),
        _ => {}
    }
    let is_bound_elsewhere = match (&settled.fate, verdict) {
        (Fate::Real { .. }, Verdict::Drop(reason)) => !reason.is_of_chosen(),
        (Fate::Real { forwarding, .. }, _) => answered && *forwarding != local,
        (Fate::Reply { .. }, _) => answered,
        _ => false,
    };
    if is_bound_elsewhere { Err("a server is told that did not get the packet") } else { Ok(()) }
}

/// Whether an answer that is due may be dropped for this reason.
fn is_of_answers(reason: DropReason) -> bool {
    use DropReason as R;
    matches!(
        reason,
        R::AnswerLimited
            | R::Unanswerable
            | R::NoRealServer
            | R::NotForUs
            | R::NoNeighbour
            | R::TtlExceeded
            | R::TooBig
    )
}
