//! One scenario from its setup to its last step.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use dataplane::tick::TICKS_PER_SECOND;
use dataplane::wire::Addr;
use serde_json::Value;

use super::observe::without_random;
use super::vector::{Output, PacketSpec, Setup, Step, Vector, What};
use super::world::World;
use super::{frame, shell, text};
use crate::ipvsadm::Reply;
use crate::listing::Meters;

/// A step in which the director did something else than the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which step: `setup`, or its number, moment and kind.
    pub step: String,
    /// Which part of it: a packet's verdict, its frames, a command's code or a text.
    pub part: String,
    /// What the kernel did.
    pub expected: String,
    /// What the director did.
    pub got: String,
    /// Why, where the director can tell.
    pub why: Option<String>,
}

impl Difference {
    /// A file that holds no scenario.
    pub(super) fn of_file(error: &str) -> Self {
        Self {
            step: "file".into(),
            part: "read".into(),
            expected: "a recorded scenario".into(),
            got: error.to_owned(),
            why: None,
        }
    }
}

impl Difference {
    /// Whether it is in what the kernel's estimator counts.
    fn is_of_statistics(&self) -> bool {
        let words = ["stats", "rate"];
        words.iter().any(|word| self.step.contains(word) || self.part.contains(word))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "      {}: {}", self.step, self.part)?;
        writeln!(f, "        expected {}", self.expected)?;
        writeln!(f, "        got      {}", self.got)?;
        match &self.why {
            Some(why) => writeln!(f, "        why      {}", why.trim_end().replace('\n', "; ")),
            None => Ok(()),
        }
    }
}

/// Standard deviations that are still taken for chance.
const CHANCE: f64 = 4.0;

struct Play<'a> {
    vector: &'a Vector,
    world: World,
    text: bool,
    packets: u32,
    /// Where a flow went first, in scenarios with random choices.
    flows: HashMap<String, String>,
    /// How many new flows each real server got there: the kernel's and the director's choices.
    shares: BTreeMap<String, (u32, u32)>,
    differences: Vec<Difference>,
}

/// Moments in the estimator's two seconds: the kernel looks at some of its counters at each.
const PHASES: u32 = 50;

/// Plays a scenario and tells all differences. One difference often leads to others, so that
/// the first one counts most.
///
/// What the kernel shows as statistics is what its estimator has seen, every two seconds from a
/// moment before the scenario on that the recording does not tell. Where nothing but statistics
/// differ, the moment is searched for that leaves the fewest differences.
pub(super) fn play(vector: &Vector, text: bool) -> Vec<Difference> {
    let mut fewest = play_from(vector, text, 0);
    if !fewest.iter().all(Difference::is_of_statistics) {
        return fewest;
    }
    let periods = (1..PHASES).map(|phase| phase * Meters::PERIOD_S * TICKS_PER_SECOND / PHASES);
    for phase in periods {
        if fewest.is_empty() {
            break;
        }
        let differences = play_from(vector, text, phase);
        if differences.len() < fewest.len() {
            fewest = differences;
        }
    }
    fewest
}

/// Plays a scenario, the estimator looking first so many ticks after two seconds.
fn play_from(vector: &Vector, text: bool, phase: u32) -> Vec<Difference> {
    let world = match World::new(&vector.topology, phase) {
        Ok(world) => world,
        Err(error) => return vec![Difference::of_file(&error)],
    };
    let mut play = Play {
        vector,
        world,
        text,
        packets: 0,
        flows: HashMap::new(),
        shares: BTreeMap::new(),
        differences: Vec::new(),
    };
    for command in &vector.topology.extra {
        let setup = Setup {
            cmd: command.clone(),
            rc: 0,
            stdin: None,
            stdout: String::new(),
            stderr: String::new(),
        };
        play.setup(&setup);
    }
    for setup in &vector.setup {
        play.setup(setup);
    }
    for step in &vector.steps {
        play.step(step);
    }
    if let Some((expected, got)) = play.unequal_shares() {
        play.differ("all steps with random choices", "shares", expected, got);
    }
    play.differences
}

impl Play<'_> {
    fn differ(&mut self, step: &str, part: &str, expected: String, got: String) {
        self.differences.push(Difference {
            step: step.to_owned(),
            part: part.to_owned(),
            expected,
            got,
            why: None,
        });
    }

    fn setup(&mut self, setup: &Setup) {
        let name = format!("setup: {}", first_line(&setup.cmd));
        let ran = shell::run(&mut self.world, &setup.cmd, setup.stdin.as_deref());
        let expected =
            Reply { stdout: setup.stdout.clone(), stderr: setup.stderr.clone(), rc: setup.rc };
        self.compare_reply(&name, &setup.cmd, &expected, ran);
    }

    fn step(&mut self, step: &Step) {
        self.world.advance(step.at);
        self.compare_unsolicited(step);
        match &step.what {
            What::Pkt { from, pkt, verdict, obs } => self.packet(step, from, pkt, verdict, obs),
            What::Cmd { cmd, stdin, rc, stdout, stderr } => {
                let name = format!("step {} at {} s: {}", step.i, step.at, first_line(cmd));
                let ran = shell::run(&mut self.world, cmd, stdin.as_deref());
                let expected = Reply { stdout: stdout.clone(), stderr: stderr.clone(), rc: *rc };
                self.compare_reply(&name, cmd, &expected, ran);
                self.world.take_sent();
            }
            What::Snap { outputs } => {
                for (key, output) in outputs {
                    self.listing(step, key, output);
                }
            }
        }
    }

    fn compare_reply(
        &mut self,
        name: &str,
        command: &str,
        expected: &Reply,
        ran: Result<Reply, String>,
    ) {
        let got = match ran {
            Ok(got) => got,
            Err(error) => {
                let expected = format!("exit code {}", expected.rc);
                return self.differ(name, "command", expected, error);
            }
        };
        if expected.rc != got.rc {
            let said = |reply: &Reply| format!("exit code {} {:?}", reply.rc, reply.stderr);
            self.differ(name, "exit code", said(expected), said(&got));
        }
        if !self.text {
            return;
        }
        for (part, expected, got) in
            [("stdout", &expected.stdout, &got.stdout), ("stderr", &expected.stderr, &got.stderr)]
        {
            let order = text::Services::of(command);
            if let Some((expected, got)) = text::difference(expected, got, order) {
                self.differ(name, part, format!("{expected:?}"), format!("{got:?}"));
            }
        }
    }

    fn listing(&mut self, step: &Step, key: &str, output: &Output) {
        if !self.text || self.vector.varies(step.i, &format!("text:{key}")) {
            return;
        }
        let name = format!("step {} at {} s: {}", step.i, step.at, output.cmd);
        match shell::run(&mut self.world, &output.cmd, None) {
            Ok(got) => {
                let order = text::Services::of(&output.cmd);
                let differing = text::difference(&output.stdout, &got.stdout, order);
                if let Some((expected, got)) = differing {
                    self.differ(&name, key, format!("{expected:?}"), format!("{got:?}"));
                }
            }
            Err(error) => self.differ(&name, key, "a listing".into(), error),
        }
    }

    fn compare_unsolicited(&mut self, step: &Step) {
        let got = self.world.take_sent();
        let expected = &step.unsolicited_before;
        if !same_frames(expected, &got, self.world.own()) {
            let name = format!("before step {} at {} s", step.i, step.at);
            let expected = described(expected);
            self.differ(&name, "frames by themselves", expected, described(&got));
        }
    }

    /// The shares of the real servers, if chance does not explain how they differ: both counts
    /// of a server vary by about the root of their sum.
    fn unequal_shares(&self) -> Option<(String, String)> {
        let unlikely = |(expected, got): &(u32, u32)| {
            f64::from(expected.abs_diff(*got)) > CHANCE * f64::from(expected + got).sqrt()
        };
        if !self.shares.values().any(unlikely) {
            return None;
        }
        let of = |which: fn(&(u32, u32)) -> u32| {
            let said: Vec<String> = self
                .shares
                .iter()
                .map(|(name, counts)| format!("{name} {}", which(counts)))
                .collect();
            said.join(", ")
        };
        Some((of(|counts| counts.0), of(|counts| counts.1)))
    }

    fn packet(&mut self, step: &Step, from: &str, spec: &PacketSpec, verdict: &str, obs: &[Value]) {
        self.packets += 1;
        let name = format!("step {} at {} s: {}", step.i, step.at, said(from, spec, step));
        let built = self.world.way(from).and_then(|(port, source, destination)| {
            Ok((frame::build(spec, self.packets, source, destination)?, port))
        });
        let (frame, port) = match built {
            Ok(built) => built,
            Err(error) => return self.differ(&name, "packet", "a packet".into(), error),
        };
        let why = self.world.explain(&frame, port).to_string();
        self.world.inject(&frame, port);
        let got = self.world.take_sent();
        let varies = self.vector.is_random();
        let got_verdict = verdict_of(&got);
        let wrong = if varies {
            // Random by design: any real server will do where the kernel took one, but a flow
            // stays where it is.
            let flow = format!("{} {} {} {}", spec.src, spec.sport, spec.dst, spec.dport);
            if !self.flows.contains_key(&flow) {
                self.shares.entry(verdict.to_owned()).or_default().0 += 1;
                self.shares.entry(got_verdict.clone()).or_default().1 += 1;
            }
            let first = self.flows.entry(flow).or_insert_with(|| got_verdict.clone());
            verdict.starts_with("rs") != got_verdict.starts_with("rs") || *first != got_verdict
        } else {
            verdict != got_verdict
        };
        if wrong {
            self.differ(&name, "verdict", verdict.to_owned(), got_verdict);
        } else if !varies
            && !self.vector.varies(step.i, "obs")
            && !same_frames(obs, &got, self.world.own())
        {
            self.differ(&name, "frames", described(obs), described(&got));
        } else {
            return;
        }
        if let Some(last) = self.differences.last_mut() {
            last.why = Some(why);
        }
    }
}

fn first_line(command: &str) -> &str {
    command.lines().next().unwrap_or_default()
}

/// A packet in a few words.
fn said(from: &str, spec: &PacketSpec, step: &Step) -> String {
    let proto = spec.proto.as_str().map_or_else(|| spec.proto.to_string(), str::to_owned);
    let flags = spec.flags.as_deref().map(|flags| format!(" {flags}")).unwrap_or_default();
    let note = step.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
    format!(
        "{proto}{flags} {}:{} > {}:{} from {from}{note}",
        spec.src, spec.sport, spec.dst, spec.dport
    )
}

/// Where frames went: `rsN`, `client`, or `none`; several are joined.
fn verdict_of(seen: &[Value]) -> String {
    let mut stations: Vec<&str> = Vec::new();
    for to in seen.iter().filter_map(|frame| frame.get("to")?.as_str()) {
        if !stations.contains(&to) {
            stations.push(to);
        }
    }
    if stations.is_empty() { "none".into() } else { stations.join("+") }
}

/// Whether the same frames came out, in any order between the two ports. What is not IP does
/// not count, nor does what TCP acknowledges and carries where the recording does not tell it.
fn same_frames(expected: &[Value], got: &[Value], own: &[Addr]) -> bool {
    let tells = expected.iter().any(|frame| frame.get("ack").is_some());
    let told = |mut frame: Value| {
        if let Value::Object(fields) = &mut frame
            && !tells
        {
            fields.remove("ack");
            fields.remove("data");
        }
        frame
    };
    let comparable = |frames: &[Value]| {
        let mut frames: Vec<String> = frames
            .iter()
            .filter(|frame| frame.get("arp").is_none())
            .map(|frame| sorted(&without_random(told(frame.clone()), own)))
            .collect();
        frames.sort();
        frames
    };
    comparable(expected) == comparable(got)
}

/// The value with its keys in one order.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", sorted(value))).collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

fn described(frames: &[Value]) -> String {
    if frames.is_empty() {
        return "nothing".into();
    }
    frames.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}
