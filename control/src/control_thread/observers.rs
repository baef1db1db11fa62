//! What the control thread leaves for those who watch from outside.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::SystemTime;

use dataplane::shared::Shared;
use nic::NicStats;
use tracing::{info, warn};

use super::ControlThread;
use crate::config::Model;
use crate::metrics::http::Server;
use crate::metrics::{self, Applies, Board, Facts, ListenError};
use crate::peers::Peers;

/// The board, and the listener that answers from it.
pub(super) struct Observers {
    board: Arc<Board>,
    server: Option<Server>,
    applies: Applies,
    started: SystemTime,
    /// The ports' counters at the last look.
    pub(super) nic: NicStats,
    /// Whether it was said that there are too many series.
    warned: bool,
}

/// The listener of a configuration that is about to be taken over.
pub(super) enum Change {
    /// As it is.
    None,
    /// Another one, or none any more.
    To(Option<Server>),
}

impl Observers {
    pub(super) fn new(
        shared: &Arc<Shared>,
        listener: Option<TcpListener>,
    ) -> Result<Self, ListenError> {
        let board = Board::new(Arc::clone(shared));
        let server =
            listener.map(|listener| metrics::serve(listener, Arc::clone(&board))).transpose()?;
        if let Some(server) = &server {
            info!("metrics are on http://{}/metrics", server.address());
        }
        Ok(Self {
            board,
            server,
            applies: Applies::default(),
            started: SystemTime::now(),
            nic: NicStats::default(),
            warned: false,
        })
    }

    /// The control thread has been around its loop.
    pub(super) fn round(&self) {
        self.board.round();
    }

    /// How a change of the configuration ended.
    pub(super) fn applied(&mut self, taken_over: bool) {
        let now = SystemTime::now();
        let applies = &mut self.applies;
        applies.last = Some(now);
        applies.last_refused = !taken_over;
        if taken_over {
            applies.taken_over += 1;
            applies.last_taken_over = Some(now);
        } else {
            applies.refused += 1;
        }
    }

    /// Takes the address that a new configuration names. Nothing of the running one is
    /// given up yet.
    pub(super) fn prepare(&self, running: &Model, wanted: &Model) -> Result<Change, String> {
        let before = running.metrics.map(|metrics| metrics.address);
        let after = wanted.metrics.map(|metrics| metrics.address);
        if before == after {
            return Ok(Change::None);
        }
        let server = after.map(|address| {
            metrics::listen(address)
                .and_then(|listener| metrics::serve(listener, Arc::clone(&self.board)))
        });
        server.transpose().map(Change::To).map_err(|error| error.to_string())
    }

    /// The new configuration was taken over.
    pub(super) fn go_on(&mut self, change: Change) {
        if let Change::To(server) = change {
            self.server = server;
            match &self.server {
                Some(server) => info!("metrics are on http://{}/metrics", server.address()),
                None => info!("metrics are offered no more"),
            }
        }
    }
}

impl ControlThread {
    /// Who may use the control socket from now on.
    pub(super) fn admit(&self, peers: Peers) {
        if let Err(error) = self.socket.allow(peers) {
            warn!("control.allow: {error}");
        }
    }

    /// Puts the present facts on the board, if anybody may ask for them.
    pub(super) fn tell_observers(&mut self) {
        let Some(settings) = self.model.metrics else { return };
        let mut neighbours = HashMap::new();
        for listed in self.neighbours.iter() {
            *neighbours.entry((listed.port.0, listed.condition)).or_default() += 1;
        }
        let facts = Facts {
            settings,
            snapshot: Arc::clone(&self.snapshot),
            ports: self.ports.clone(),
            nic: self.observers.nic.clone(),
            services: self.meters.ever(),
            all: self.meters.ever_in_all(),
            neighbours,
            applies: self.observers.applies,
            started: self.observers.started,
        };
        let too_many = facts.leaves_out();
        if too_many && !self.observers.warned {
            warn!(
                "metrics: some services or real servers have no series of their own (see \
                 director_left_out), there would be more than metrics.series: {}; raise it",
                settings.series
            );
        }
        self.observers.warned = too_many;
        self.observers.board.put(facts);
    }
}
