//! Tracing: what is told, how much of it, and that packets go where they went without it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;

use dataplane::explain::{Because, Fate};
use dataplane::ids::PortIndex;
use dataplane::mailbox::{Answer, Query};
use dataplane::trace::{Filter, MOST_ORDERS, Order, Outcome, Record, Wanted};
use dataplane::verdict::DropReason;
use support::lab::{Lab, Seen, client_address, socket};
use support::packet;

/// A service with two real servers, and an order that every core has taken.
fn traced(filter: Filter, per_second: u32) -> (Lab, Arc<Order>) {
    let mut lab = Lab::new();
    lab.ipvsadm("-A -t V:80 -s rr -p 360");
    lab.ipvsadm("-a -t V:80 -r R1");
    lab.ipvsadm("-a -t V:80 -r R2");
    let order = Order::new(filter, 64, per_second);
    assert!(take(&mut lab, &order));
    (lab, order)
}

fn take(lab: &mut Lab, order: &Arc<Order>) -> bool {
    let shared = Arc::clone(&lab.shared);
    let mailbox = &shared.mailboxes[0];
    mailbox.queries.push(Query::Trace(Arc::clone(order))).unwrap();
    lab.turn();
    match mailbox.answers.pop() {
        Some(Answer::Traced(taken)) => taken,
        other => panic!("{other:?}"),
    }
}

fn told(order: &Order) -> Vec<Record> {
    std::iter::from_fn(|| order.pop()).collect()
}

#[test]
fn each_packet_is_told_with_the_reason_that_explain_would_have_given_before_it_passed() {
    let (mut lab, order) = traced(Filter::default(), 1000);
    lab.workers[0].stamp(7_000);
    let conn = lab.client(1).opens("V:80");
    assert!(matches!(conn.got, Seen::Real(_)));
    lab.sends(&conn, "A");
    lab.client(1).opens("V:80");
    lab.client(1).sends("S", "V:81");
    let records = told(&order);
    let whys: Vec<String> = (records.iter())
        .map(|record| match &record.story.fate {
            Fate::Real { because: Because::Scheduler(name), .. } => (*name).to_owned(),
            Fate::Real { because: Because::Connection { .. }, .. } => "connection".to_owned(),
            Fate::Real { because: Because::Template { .. }, .. } => "template".to_owned(),
            Fate::Real { because: Because::Pin, .. } => "pin".to_owned(),
            Fate::Kernel { .. } => "kernel".to_owned(),
            Fate::Real { because, .. } => because.to_string(),
            Fate::Reply { .. } => "reply".to_owned(),
            Fate::Host(_) | Fate::Not(_) => "not".to_owned(),
        })
        .collect();
    assert_eq!(whys, ["rr", "connection", "template", "not"]);
    let outcomes: Vec<Outcome> = records.iter().map(|record| record.outcome).collect();
    assert!(matches!(
        outcomes[..3],
        [Outcome::Forwarded(_), Outcome::Forwarded(_), Outcome::Forwarded(_)]
    ));
    assert_eq!(outcomes[3], Outcome::Answered);
    assert_eq!(records[0].at_ns, 7_000);
    assert_eq!(records[0].frame.len(), records[0].length.min(64));
    assert_eq!((order.lost(), order.passed_by()), (0, 0));
    lab.check();
}

#[test]
fn only_what_fits_the_filter_is_told() {
    let one = |number| Filter {
        client: Some((client_address(number, false).into(), 32)),
        ..Filter::default()
    };
    let (mut lab, of_client) = traced(one(2), 1000);
    let of_nobody = Order::new(
        Filter { service: Some("no-such-service".into()), ..Filter::default() },
        0,
        1000,
    );
    let dropped =
        Filter { wanted: Wanted::Dropped(Some(DropReason::Truncated)), ..Filter::default() };
    let of_drops = Order::new(dropped, 0, 1000);
    assert!(take(&mut lab, &of_nobody) && take(&mut lab, &of_drops));
    for number in 1..=3 {
        lab.client(number).opens("V:80");
    }
    let frame = packet::tcp("198.18.32.2:1000", &socket("V:80").to_string()).flags("S").build();
    lab.frame(&frame[..20]);
    assert_eq!(told(&of_client).len(), 1);
    assert_eq!(told(&of_nobody).len(), 0);
    let drops = told(&of_drops);
    assert_eq!(drops.len(), 1);
    assert_eq!(drops[0].outcome, Outcome::Dropped(DropReason::Truncated));
    assert!(drops[0].frame.is_empty(), "no bytes were asked for");
}

#[test]
fn the_rate_and_the_ring_are_bounded_and_what_is_missed_is_counted() {
    let (mut lab, slow) = traced(Filter::default(), 10);
    let fast = Order::new(Filter::default(), 0, 1_000_000);
    assert!(take(&mut lab, &fast));
    let conn = lab.client(1).opens("V:80");
    for _ in 0..9_999 {
        lab.sends(&conn, "A");
    }
    let few = told(&slow).len() as u64;
    assert!(few < 1_000 && few + slow.passed_by() == 10_000, "{few} + {}", slow.passed_by());
    let many = told(&fast).len() as u64;
    assert!(many < 10_000 && many + fast.lost() == 10_000, "{many} + {}", fast.lost());
    assert_eq!(fast.passed_by(), 0);
    lab.check();
}

#[test]
fn an_order_that_is_over_is_forgotten_and_there_are_few_at_a_time() {
    let (mut lab, first) = traced(Filter::default(), 10);
    let others: Vec<Arc<Order>> =
        (1..=MOST_ORDERS).map(|_| Order::new(Filter::default(), 0, 10)).collect();
    let taken: Vec<bool> = others.iter().map(|order| take(&mut lab, order)).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), MOST_ORDERS - 1);
    assert!(lab.workers[0].is_traced());
    first.end();
    others.iter().for_each(|order| order.end());
    lab.turn();
    assert!(!lab.workers[0].is_traced());
    lab.client(1).opens("V:80");
    assert!(told(&first).is_empty());
}

#[test]
fn packets_go_where_they_go_without_a_trace() {
    let run = |traced: bool| {
        let mut lab = Lab::new();
        lab.ipvsadm("-A -t V:80 -s wrr");
        for (real, weight) in [(1, 3), (2, 1), (3, 2)] {
            lab.ipvsadm(&format!("-a -t V:80 -r R{real} -w {weight}"));
        }
        if traced {
            assert!(take(&mut lab, &Order::new(Filter::default(), 64, 5)));
        }
        let frames: Vec<Vec<u8>> = (0..200u16)
            .map(|port| {
                let from = format!("198.18.32.{}:{}", port % 7 + 1, 1000 + port / 3);
                packet::tcp(&from, &socket("V:80").to_string())
                    .flags(["S", "A", "FA"][port as usize % 3])
                    .build()
            })
            .collect();
        let sent: Vec<(PortIndex, Vec<u8>)> =
            frames.chunks(32).flat_map(|burst| lab.feed(0, PortIndex(0), burst)).collect();
        (sent, lab.totals())
    };
    let ((with, counted), (without, counted_without)) = (run(true), run(false));
    assert_eq!(with, without);
    assert_eq!(counted.dropped, counted_without.dropped);
    assert_eq!(counted.forwarded, counted_without.forwarded);
}
