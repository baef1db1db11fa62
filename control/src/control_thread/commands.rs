//! ipvsadm's commands on the running director.

use std::fs;
use std::sync::Arc;

use tracing::{info, warn};

use super::ControlThread;
use crate::api::{Peer, Reply};
use crate::history::Cause;
use crate::ipvsadm::{self, Command, Names, Pending, Show, Target};
use crate::{publish, restate};

/// The listing's `size=`: IPVS's default number of hash rows.
pub(super) const TABLE_SIZE: u32 = 4096;

impl ControlThread {
    /// Carries out a command line. What it changes is one generation, as it were a file's;
    /// the model follows, so that it says what runs.
    pub(super) fn ipvsadm(&mut self, args: &[String], stdin: &str, peer: Peer) -> Reply {
        let names = Names::of_ports();
        let rows = match wants_connections(args, stdin, &names).then(|| self.list_whole()) {
            None => Vec::new(),
            Some(Ok(rows)) => rows,
            Some(Err(sentence)) => return Reply::refused(sentence),
        };
        let interfaces = self.interfaces();
        let interfaces: Vec<&str> = interfaces.iter().map(String::as_str).collect();
        let daemons = self.daemons.len();
        let before = Arc::clone(&self.snapshot);
        let mut target = Target {
            catalog: &mut self.catalog,
            snapshot: &mut self.snapshot,
            pending: Pending::default(),
            loads: &self.shared.loads,
            meters: &mut self.meters,
            daemons: &mut self.daemons,
            connections: &|| rows.clone(),
            interfaces: &interfaces,
            names: &names,
            table_size: TABLE_SIZE,
        };
        let reply = ipvsadm::run(args, stdin, &mut target);
        target.settle();
        if self.daemons.len() > daemons {
            warn!(
                "connections are not synchronised with other directors: the daemon is listed only"
            );
        }
        if !Arc::ptr_eq(&before, &self.snapshot) {
            self.follow_catalog();
            let line = format!("ipvsadm {}", args.join(" "));
            info!("{peer}: {line}: generation {}", self.snapshot.generation);
            let changes = if stdin.is_empty() { "done" } else { "restored" };
            self.note(Cause::Ipvsadm, peer.user(), line, changes.to_owned());
            self.wait_for_cores();
        }
        match serde_json::to_string(&reply) {
            Ok(text) => Reply::done(text),
            Err(error) => Reply::refused(format!("the answer cannot be written: {error}\n")),
        }
    }

    /// Publishes what commands made of the catalog, and has the model say the same.
    pub(super) fn follow_catalog(&mut self) {
        publish::publish(&self.shared, &self.snapshot);
        let restated =
            restate::services(&self.model, self.catalog.farms(), self.catalog.selectors());
        let timeouts = restate::timeouts(self.catalog.timeouts);
        self.model = Arc::new(self.model.with_services(restated.services, timeouts));
        self.unsaid = restated.unsaid;
        self.settle_neighbours();
    }

    /// What a synchronisation daemon may be started on: the ports, and what the kernel has.
    fn interfaces(&self) -> Vec<String> {
        let ports = self.ports.iter().map(|port| port.name.clone());
        let kernel = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        ports.chain(kernel.filter_map(|entry| entry.file_name().into_string().ok())).collect()
    }
}

fn wants_connections(args: &[String], stdin: &str, names: &Names) -> bool {
    let lists = |words: &[String]| match ipvsadm::parse(words, names) {
        Ok(Command::List(options)) => matches!(options.show, Show::Connections { .. }),
        _ => false,
    };
    let lines = || stdin.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
    lists(args) || lines().any(|words: Vec<String>| lists(&words))
}
