//! The order of a measurement: fill, then rounds in turn with the reference, those that had
//! too little of the CPU again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use dataplane::snapshot::Tracking;

use crate::core_at_work::Job;
use crate::disturb::Control;
use crate::error::BenchError;
use crate::gap;
use crate::load::{Load, Source};
use crate::reference::Testpmd;
use crate::round::{LEAST_SHARE, Round};

/// Longer than every timeout that a bench's entries can have.
const ALL_TIMEOUTS_S: u32 = 2_400;
/// How long a core warms up.
const WARM: Duration = Duration::from_millis(200);
/// Rounds are repeated until so many times the wanted number were made.
const MOST_TRIES: u32 = 3;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Rounds that are to count.
    pub rounds: u32,
    /// The length of each.
    pub time: Duration,
    /// Packets after which a round ends early.
    pub packets: u64,
    /// Whether the longest time between two polls is looked for.
    pub gaps: bool,
    /// Rounds are no more repeated after this time.
    pub at_most: Duration,
}

/// The way to a core and back.
pub struct Line {
    /// To the core.
    pub jobs: Sender<Job>,
    /// From the core.
    pub answers: Receiver<Round>,
    /// Set while the core is to go on with its round.
    pub held: Arc<AtomicBool>,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// The director's rounds; each has one for every core.
    pub director: Vec<Vec<Round>>,
    /// The reference's rounds.
    pub reference: Vec<Round>,
    /// Rounds that had too little CPU and were made again.
    pub discarded: u32,
    /// Whether as many rounds counted as were wanted. Otherwise some of those above had too
    /// little CPU as well, and the figures are rough.
    pub complete: bool,
    /// What control did meanwhile, once in every round.
    pub disturbed: Vec<Disturbed>,
}

/// What control did in a round, and what cores noticed of it.
#[derive(Clone, Copy, Debug)]
pub struct Disturbed {
    /// How long it took until every core worked with it.
    pub live_in: Duration,
    /// The longest time between two polls of any core meanwhile.
    pub pause: Duration,
    /// The same in as much time just before, in which nothing happened.
    pub pause_before: Duration,
}

impl Disturbed {
    fn of(rounds: &[Round], began: Instant, live_in: Duration) -> Self {
        let longest = |from| {
            let gaps = rounds.iter().flat_map(|round| &round.gaps);
            gap::longest(gaps, (from, from + live_in))
        };
        let before = began.checked_sub(live_in).unwrap_or(began);
        Self { live_in, pause: longest(began), pause_before: longest(before) }
    }
}

/// Makes a whole measurement.
///
/// # Errors
/// A core that ended, packets that were lost, a reference that failed.
pub fn conduct(
    load: &Load,
    extent: Extent,
    cores: &[Line],
    mut reference: Option<&mut Testpmd>,
    mut control: Option<&mut Control>,
    say: &dyn Fn(&str),
) -> Result<Rounds, BenchError> {
    let round = Job::Round {
        gaps: extent.gaps,
        time: extent.time,
        packets: extent.packets,
        new_clients: match load.new_share > 0.0 {
            true => load.room_for_new / 2 / cores.len().max(1) as u32,
            false => u32::MAX,
        },
    };
    fill(load, cores)?;
    // One for warming up, which is not kept. Where packets are counted and not time, it is
    // by packets, too, so that every run executes the same instructions.
    let by_time = extent.packets == u64::MAX;
    let warm = Job::Round {
        gaps: false,
        time: if by_time { extent.time.min(WARM) } else { extent.time },
        packets: extent.packets,
        new_clients: load.room_for_new / 4,
    };
    check(&all(cores, warm)?)?;
    let mut made: Vec<(Vec<Round>, Option<Round>)> = Vec::new();
    let (mut counted, mut disturbed) = (0, Vec::<Disturbed>::new());
    let began = Instant::now();
    let tries = if by_time { extent.rounds * MOST_TRIES } else { extent.rounds };
    let goes_on = |made: usize, counted: u32| {
        made == 0
            || counted < extent.rounds && (made as u32) < tries && began.elapsed() < extent.at_most
    };
    while goes_on(made.len(), counted) {
        let theirs = match reference.as_deref_mut() {
            Some(reference) => Some(reference.round(extent.time)?),
            None => None,
        };
        if load.new_share > 0.0 {
            all(cores, Job::Pass { seconds: ALL_TIMEOUTS_S })?;
            fill(load, cores)?;
        }
        if let Some(control) = control.as_deref_mut() {
            control.prepare()?;
        }
        let mut window = None;
        hold(cores, control.is_some());
        begin(cores, round)?;
        if let Some(control) = control.as_deref_mut() {
            // There is to be as much time before, too.
            let last = disturbed.iter().map(|one| one.live_in).max().unwrap_or_default();
            std::thread::sleep(last.max(extent.time / 4));
            let began = Instant::now();
            let took = control.disturb();
            hold(cores, false);
            window = Some((began, took?));
        }
        let ours = end(cores)?;
        check(&ours)?;
        disturbed.extend(window.map(|(began, took)| Disturbed::of(&ours, began, took)));
        say(&sentence(made.len() + 1, &ours, theirs.as_ref()));
        counted += u32::from(least_share(&ours, theirs.as_ref()) >= LEAST_SHARE);
        made.push((ours, theirs));
    }
    Ok(Rounds { disturbed, ..best(made, counted, extent.rounds) })
}

/// Rounds of another program, in turn with the reference's.
///
/// # Errors
/// Either of them failed.
pub fn alternate(
    extent: Extent,
    mut peer: impl FnMut(Duration) -> Result<Round, BenchError>,
    reference: &mut Testpmd,
    say: &dyn Fn(&str),
) -> Result<Rounds, BenchError> {
    let (mut made, mut counted, began) = (Vec::new(), 0, Instant::now());
    let tries = (extent.rounds * MOST_TRIES) as usize;
    while made.is_empty()
        || counted < extent.rounds && made.len() < tries && began.elapsed() < extent.at_most
    {
        let theirs = Some(reference.round(extent.time)?);
        let ours = vec![peer(extent.time)?];
        say(&sentence(made.len() + 1, &ours, theirs.as_ref()));
        counted += u32::from(least_share(&ours, theirs.as_ref()) >= LEAST_SHARE);
        made.push((ours, theirs));
    }
    Ok(best(made, counted, extent.rounds))
}

/// The rounds that count; where there are too few of them, those that come nearest to it.
fn best(mut made: Vec<(Vec<Round>, Option<Round>)>, counted: u32, wanted: u32) -> Rounds {
    made.sort_by(|a, b| {
        let share =
            |(ours, theirs): &(Vec<Round>, Option<Round>)| least_share(ours, theirs.as_ref());
        share(b).total_cmp(&share(a))
    });
    let discarded = made.len() as u32 - counted;
    made.truncate(wanted as usize);
    let (director, reference): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    let reference = reference.into_iter().flatten().collect();
    let complete = counted >= wanted;
    Rounds { director, reference, discarded, complete, disturbed: Vec::new() }
}

/// The smallest share of a CPU that any thread had.
fn least_share(ours: &[Round], theirs: Option<&Round>) -> f64 {
    let share = |round: &Round| if round.packets > 0 { round.share() } else { 0.0 };
    ours.iter().chain(theirs).map(share).fold(f64::INFINITY, f64::min)
}

fn fill(load: &Load, cores: &[Line]) -> Result<(), BenchError> {
    if load.source == Source::Pcap {
        return Ok(());
    }
    let answering = if load.forwarding.sees_replies() { load.servers as usize } else { 0 };
    let handshake = load.tracking == Tracking::Full;
    let filled = all(cores, Job::Fill { handshake, answering })?;
    check(&filled)
}

/// Gives all cores a job at once and waits for all of them.
fn all(cores: &[Line], job: Job) -> Result<Vec<Round>, BenchError> {
    begin(cores, job)?;
    end(cores)
}

/// No core ends a round while it is held.
fn hold(cores: &[Line], is_held: bool) {
    for line in cores {
        line.held.store(is_held, Ordering::Relaxed);
    }
}

fn begin(cores: &[Line], job: Job) -> Result<(), BenchError> {
    for (core, line) in cores.iter().enumerate() {
        line.jobs.send(job).map_err(|_| BenchError::CoreEnded(core))?;
    }
    Ok(())
}

fn end(cores: &[Line]) -> Result<Vec<Round>, BenchError> {
    let answers = cores.iter().enumerate();
    answers
        .map(|(core, line)| line.answers.recv().map_err(|_| BenchError::CoreEnded(core)))
        .collect()
}

/// Whether packets reached real servers. One in a thousand may be lost to full queues.
fn check(rounds: &[Round]) -> Result<(), BenchError> {
    let packets: u64 = rounds.iter().map(Round::lost_packets).sum();
    let of: u64 = rounds.iter().map(|round| round.packets).sum();
    if packets * 1000 <= of {
        return Ok(());
    }
    let reasons = rounds.iter().flat_map(|round| &round.lost);
    let reasons: Vec<String> = reasons.map(|(label, n)| format!("{label} {n}")).collect();
    Err(BenchError::Lost { packets, of, reasons: reasons.join(", ") })
}

fn sentence(number: usize, ours: &[Round], theirs: Option<&Round>) -> String {
    let mut text = format!("round {number}:");
    for round in ours {
        text += &format!(
            " {:.1} ns/packet, {:.1} Mpps, burst {:.1}, CPU share {:.2};",
            round.ns_per_packet(),
            round.mpps(),
            round.burst(),
            round.share()
        );
    }
    if let Some(round) = theirs {
        text += &format!(" testpmd {:.1} ns, share {:.2};", round.ns_per_packet(), round.share());
    }
    if least_share(ours, theirs) >= LEAST_SHARE {
        text.pop();
    } else {
        text += " discarded, the CPU was wanted elsewhere";
    }
    text
}
