//! What it costs to choose a real server, by itself: no packet is received, none is sent.

use std::hint::black_box;

use dataplane::catalog::Refused;
use dataplane::ids::RealId;
use dataplane::sched::{Pool, Scheduler, Schedulers};
use dataplane::tick::Tick;
use dataplane::wire::{Family, Packet};

use crate::cpu::CpuTime;
use crate::farm::Measured;
use crate::load::Load;
use crate::sample;

/// Choices in a round.
const CHOICES: u32 = 500_000;
/// Rounds, of which the median counts.
const ROUNDS: usize = 9;

/// Gives `run` a function that chooses for the next new connection, of one packet after the
/// other, and counts the connection for who was chosen.
pub fn choosing<R>(
    measured: &Measured,
    packets: &[Packet],
    run: impl FnOnce(&mut dyn FnMut() -> Option<RealId>) -> R,
) -> Option<R> {
    let (shared, snapshot) = (&measured.shared, measured.snapshot());
    let service = snapshot.services.iter().flatten().next()?;
    let pool = Pool {
        members: &service.members,
        reals: &snapshot.reals,
        loads: &shared.loads,
        kernel: service.compat.kernel,
        flags: service.flags,
        tracking: service.tracking,
        seed: Some(1),
        secret: shared.key.0,
        now: Tick(1),
        core: 0,
    };
    let (mut next, mut state) = (packets.iter().cycle(), Schedulers::default());
    Some(run(&mut || {
        state.settle(&shared.loads, 0);
        let real = state.pick(service, &pool, next.next()?);
        if let Some(real) = real {
            shared.loads.shift(0, real, 1, 0);
        }
        real
    }))
}

/// Nanoseconds on the CPU for a choice and the connection's count, of this scheduler among so
/// many real servers of one weight, while all of them fill up.
///
/// # Errors
/// More real servers than there are ids for.
pub fn ns(scheduler: Scheduler, servers: u32) -> Result<f64, Refused> {
    let measured = Measured::new(&Load::in_memory(Family::V4, 1, servers, scheduler), 1)?;
    let clients: Vec<_> = sample::packet(&sample::frame(Family::V4, 1)).into_iter().collect();
    let rounds = choosing(&measured, &clients, |choose| {
        let mut rounds = [(); ROUNDS].map(|()| {
            let began = CpuTime::now();
            for _ in 0..CHOICES {
                black_box(choose());
            }
            began.on_cpu(&CpuTime::now()).as_secs_f64() * 1e9 / f64::from(CHOICES)
        });
        rounds.sort_by(f64::total_cmp);
        rounds
    });
    Ok(rounds.and_then(|rounds| rounds.get(ROUNDS / 2).copied()).unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_chosen_in_turn_while_all_fill_up() {
        let load = Load::in_memory(Family::V4, 1, 1_000, Scheduler::Wlc);
        let measured = Measured::new(&load, 1).expect("1,000 ids");
        let client = sample::packet(&sample::frame(Family::V4, 1)).expect("a packet");
        let mut chosen = choosing(&measured, &[client], |choose| {
            (0..1_000).filter_map(|_| choose()).collect::<Vec<_>>()
        })
        .expect("a service");
        chosen.sort_by_key(|real| real.0);
        chosen.dedup();
        assert_eq!(chosen.len(), 1_000);
    }
}
