//! The words of `director trace` and `director capture`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Socket;
use crate::page::Network;
use crate::trace;

/// Which packets, and how many of them.
#[derive(Debug, Args)]
pub struct Select {
    /// Packets from and to this network: 198.18.64.0/18, 198.18.64.7, 2001:db8::/32.
    #[arg(long, value_name = "CIDR")]
    pub client: Option<Network>,
    /// Packets of this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Packets that ended so: forward, answer, kernel, punt, hold, drop, or a drop's reason as
    /// `director status` names it (no_real_server).
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub verdict: Option<String>,
    /// End after so many packets.
    #[arg(short = 'n', long, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time: 10s, 500ms, 5m, 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = period)]
    pub period: Option<Duration>,
    /// Packets that each core looks at per second; what comes faster passes by and is counted.
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
}

/// `director trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// Which packets.
    #[command(flatten)]
    pub select: Select,
    /// One JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

/// `director capture`.
#[derive(Debug, Args)]
pub struct Capture {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The file; `-` is standard output.
    #[arg(short, long, value_name = "FILE.pcapng")]
    pub output: PathBuf,
    /// Which packets.
    #[command(flatten)]
    pub select: Select,
    /// Bytes of each packet that are kept.
    #[arg(long, value_name = "BYTES", default_value_t = 65_535,
          value_parser = clap::value_parser!(u32).range(14..=65_535))]
    pub snaplen: u32,
}

/// A verdict's word, or a drop reason's.
fn verdict(word: &str) -> Result<String, String> {
    trace::wanted(word).map(|_| word.to_owned())
}

/// A time: seconds, or a number with ms, s, m or h.
fn period(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit_ms: Option<u64> = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let ms = digits.parse::<u64>().ok().zip(unit_ms).and_then(|(n, unit)| n.checked_mul(unit));
    ms.filter(|ms| *ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "write a time such as 10s, 500ms, 5m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(period("10"), Ok(Duration::from_secs(10)));
        assert_eq!(period("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(period("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "0", "s", "10x", "-1", "99999999999999999999"] {
            assert!(period(bad).is_err(), "{bad}");
        }
    }
}
