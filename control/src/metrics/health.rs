//! Whether the director lives, and whether it does its work.

use std::thread;
use std::time::{Duration, Instant};

use super::board::Board;
use crate::publish;

/// A core that has not made a turn for so long stands still.
const CORE: Duration = Duration::from_secs(2);
/// The control thread may be busy with a long listing or a large configuration.
const CONTROL: Duration = Duration::from_secs(10);
/// Between two looks at what should move.
const LOOK: Duration = Duration::from_millis(2);

/// `/healthz`: every core makes turns, and the control thread goes around its loop. Takes as
/// long as it takes to see each of them move once.
pub fn health(board: &Board) -> Result<(), Vec<String>> {
    let began = Instant::now();
    let turns = || board.shared().counters.iter().map(|core| core.turns.get());
    let (before, rounds) = (turns().collect::<Vec<u64>>(), board.rounds());
    loop {
        let standing: Vec<usize> = (turns().zip(&before).enumerate())
            .filter(|(_, (now, before))| now == *before)
            .map(|(core, _)| core)
            .collect();
        let control_moves = board.rounds() != rounds;
        if standing.is_empty() && control_moves {
            return Ok(());
        }
        let waited = began.elapsed();
        if waited > CORE && !standing.is_empty() {
            let line = |core| format!("core {core} has made no turn for {} s", CORE.as_secs());
            return Err(standing.into_iter().map(line).collect());
        }
        if waited > CONTROL {
            return Err(vec![format!("the control thread stands for {} s", CONTROL.as_secs())]);
        }
        thread::sleep(LOOK);
    }
}

/// `/readyz`: every core runs the newest configuration, and some port to the network is up.
pub fn readiness(board: &Board) -> Result<(), Vec<String>> {
    let Some(facts) = board.facts() else {
        return Err(vec!["the director is starting".to_owned()]);
    };
    let mut reasons = Vec::new();
    let (wanted, adopted) = (facts.snapshot.generation, publish::adopted(board.shared()));
    if adopted < wanted {
        reasons.push(format!("generation {wanted} runs on some cores only"));
    }
    let mut down = Vec::new();
    for port in facts.ports.iter().filter(|port| !port.kernel_facing) {
        let now = facts.nic.ports.iter().find(|stats| stats.name == port.name);
        if now.map_or(port.link_up, |stats| stats.link_up) {
            down.clear();
            break;
        }
        down.push(format!("port {} has no link", port.name));
    }
    reasons.extend(down);
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}
