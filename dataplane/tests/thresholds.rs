//! Upper and lower thresholds: when a real server stops taking clients, and when it starts again.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::compat::Kernel;
use support::lab::{Lab, Seen};

fn lab(kernel: Kernel, real: &str) -> Lab {
    let mut lab = Lab::new();
    lab.switch(|compat| compat.kernel = kernel);
    lab.ipvsadm("-A -t V:80 -s rr");
    lab.ipvsadm(&format!("-a -t V:80 -r R1 {real}"));
    lab
}

const BOTH: [Kernel; 2] = [Kernel::Classic, Kernel::New];

#[test]
fn a_full_server_refuses() {
    for kernel in BOTH {
        assert_eq!(lab(kernel, "-x 3").picks("V:80", 5), "1 1 1 X X", "{kernel:?}");
    }
}

#[test]
fn a_full_server_takes_clients_again_below_three_quarters() {
    for kernel in BOTH {
        let mut lab = lab(kernel, "-x 4");
        let conns: Vec<_> = (0..4).map(|_| lab.client(1).opens("V:80")).collect();
        assert_eq!(lab.client(2).opens("V:80").got, Seen::Unreachable);
        for (ending, expected) in [(0, "X"), (1, "1")] {
            lab.establishes(&conns[ending]);
            lab.sends(&conns[ending], "R");
            lab.after_secs(11);
            assert_eq!(lab.picks("V:80", 1), expected, "{kernel:?} after {} ended", ending + 1);
        }
    }
}

#[test]
fn a_lower_threshold_of_its_own_is_what_counts() {
    for kernel in BOTH {
        let mut lab = lab(kernel, "-x 4 -y 2");
        let conns: Vec<_> = (0..4).map(|_| lab.client(1).opens("V:80")).collect();
        for (place, expected) in [(0, "X"), (1, "X"), (2, "1")] {
            lab.establishes(&conns[place]);
            lab.sends(&conns[place], "R");
            lab.after_secs(11);
            assert_eq!(lab.picks("V:80", 1), expected, "{kernel:?}, {} left", 3 - place);
        }
    }
}

#[test]
fn a_threshold_lowered_below_the_load_counts_at_once_only_on_new_kernels() {
    for (kernel, expected) in [(Kernel::Classic, "1 X"), (Kernel::New, "X X")] {
        let mut lab = lab(kernel, "");
        assert_eq!(lab.picks("V:80", 5), "1 1 1 1 1");
        lab.catalog.compat.kernel = kernel;
        lab.ipvsadm("-e -t V:80 -r R1 -x 3");
        assert_eq!(lab.picks("V:80", 2), expected, "{kernel:?}");
    }
}

#[test]
fn a_raised_threshold_or_none_frees_the_server() {
    for kernel in BOTH {
        for edit in ["-x 9", ""] {
            let mut lab = lab(kernel, "-x 2");
            assert_eq!(lab.picks("V:80", 3), "1 1 X");
            lab.ipvsadm(&format!("-e -t V:80 -r R1 {edit}"));
            assert_eq!(lab.picks("V:80", 1), "1", "{kernel:?} {edit}");
        }
    }
}

#[test]
fn an_edit_without_thresholds_in_it_leaves_the_flag_as_it_is() {
    let mut lab = lab(Kernel::New, "-x 4 -y 2");
    let conns: Vec<_> = (0..4).map(|_| lab.client(1).opens("V:80")).collect();
    lab.establishes(&conns[0]);
    lab.sends(&conns[0], "R");
    lab.after_secs(11);
    lab.ipvsadm("-e -t V:80 -r R1 -x 4 -y 2 -w 7");
    assert_eq!(lab.picks("V:80", 1), "X");
}

#[test]
fn connections_of_all_cores_fill_a_server() {
    let mut lab = Lab::with_cores(4);
    lab.ipvsadm("-A -t V:80 -s rr");
    lab.ipvsadm("-a -t V:80 -r R1 -x 10");
    let picked = lab.picks("V:80", 14);
    assert_eq!(picked, "1 1 1 1 1 1 1 1 1 1 X X X X");
    let busy = lab.workers.iter().filter(|w| w.director().bindings().connections() > 0).count();
    assert!(busy > 1, "the connections are spread over the cores");
}

#[test]
fn a_removed_server_is_overloaded_again_when_it_is_put_back_full() {
    let mut lab = lab(Kernel::New, "-x 2");
    assert_eq!(lab.picks("V:80", 3), "1 1 X");
    lab.ipvsadm("-d -t V:80 -r R1");
    lab.ipvsadm("-a -t V:80 -r R1 -x 2");
    assert!(lab.is_overloaded("-t V:80", 1));
    assert_eq!(lab.picks("V:80", 1), "X");
}
