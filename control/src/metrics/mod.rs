//! Prometheus metrics and health, for whoever asks over HTTP.
//!
//! ```text
//! control thread -> Board (facts, a pointer swap) -> listener's threads -> /metrics, /healthz,
//! cores -> counters in Shared --------------------^                        /readyz
//! ```
//!
//! A scrape takes nothing of the control thread's or a core's time: it reads the counters
//! that the cores write anyway and the facts that the control thread leaves on the board.
//! However many ask, the page is made at most once a second.

pub mod board;
pub mod exposition;
pub mod health;
pub mod http;
mod page;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use thiserror::Error;

pub use board::{Board, Facts};
pub use page::Applies;

use exposition::Format;
use http::{Answer, Asked, Server};

use crate::reason::reason;

/// Why metrics cannot be offered.
#[derive(Debug, Error)]
#[error(
    "cannot listen on {address} for metrics: {}; change metrics.address, or stop the program that listens there",
    reason(.error)
)]
pub struct ListenError {
    address: SocketAddr,
    error: std::io::Error,
}

/// Takes the address, so that nobody else can; clients wait until [`serve`].
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).map_err(|error| ListenError { address, error })
}

/// Answers from the board until the server is dropped.
pub fn serve(listener: TcpListener, board: Arc<Board>) -> Result<Server, ListenError> {
    let address = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    Server::on(listener, move |asked| answer(asked, &board))
        .map_err(|error| ListenError { address, error })
}

const INDEX: &str = "director\n\n/metrics  counters, in Prometheus's text or OpenMetrics\n\
                     /healthz  200 while every core and the control thread move\n\
                     /readyz   200 while the configuration is live and a port is up\n";

fn answer(asked: &Asked, board: &Board) -> Answer {
    let format = if asked.openmetrics { Format::OpenMetrics } else { Format::Text };
    match asked.path.as_str() {
        "/metrics" => match board.page(format) {
            Some(body) => Answer { status: 200, content_type: format.content_type(), body },
            None => Answer::text(503, "the director is starting\n"),
        },
        "/healthz" => verdict(health::health(board)),
        "/readyz" => verdict(health::readiness(board)),
        "/" => Answer::text(200, INDEX),
        _ => Answer::text(404, "there is /metrics, /healthz and /readyz\n"),
    }
}

fn verdict(verdict: Result<(), Vec<String>>) -> Answer {
    match verdict {
        Ok(()) => Answer::text(200, "ok\n"),
        Err(reasons) => Answer::text(503, &(reasons.join("\n") + "\n")),
    }
}
