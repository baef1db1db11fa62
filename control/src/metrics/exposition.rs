//! The text that Prometheus reads: its own format 0.0.4, and OpenMetrics 1.0.

use std::fmt::{Display, Write as _};

/// Which of the two formats is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own text, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The answer's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of number a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One that only grows; its samples end in `_total`.
    Counter,
    /// One that goes up and down.
    Gauge,
}

/// Samples as they are written, one family after the other.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

/// The labels of a sample, in the order in which they are written.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Begins a family of counters; `name` is without `_total`.
    pub fn counter<'a>(&'a mut self, name: &'a str, help: &'a str) -> Family<'a> {
        Family { of: self, name, help, kind: Kind::Counter, begun: false }
    }

    /// Begins a family of gauges.
    pub fn gauge<'a>(&'a mut self, name: &'a str, help: &'a str) -> Family<'a> {
        Family { of: self, name, help, kind: Kind::Gauge, begun: false }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// One family. It is named in the text once it has a sample.
pub struct Family<'a> {
    of: &'a mut Exposition,
    name: &'a str,
    help: &'a str,
    kind: Kind,
    begun: bool,
}

impl Family<'_> {
    /// Writes a sample without labels.
    pub fn only(&mut self, value: impl Display) {
        self.sample(&[], value);
    }

    /// Writes a sample. Numbers print as Prometheus reads them.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.begin();
        let text = &mut self.of.text;
        text.push_str(self.name);
        if self.kind == Kind::Counter {
            text.push_str("_total");
        }
        for (index, (key, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            text.push_str(key);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }

    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        let (suffix, kind) = match (self.kind, self.of.format) {
            (Kind::Gauge, _) => ("", "gauge"),
            // OpenMetrics names the family, the other format its samples.
            (Kind::Counter, Format::Text) => ("_total", "counter"),
            (Kind::Counter, Format::OpenMetrics) => ("", "counter"),
        };
        let text = &mut self.of.text;
        let _ = write!(text, "# HELP {}{suffix} ", self.name);
        escape(text, self.help);
        let _ = writeln!(text, "\n# TYPE {}{suffix} {kind}", self.name);
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        let mut drops = exposition.counter("drops", "Frames dropped.");
        drops.sample(&[("reason", "a \"quoted\" \\ one"), ("core", "0")], 3u64);
        drops.sample(&[("reason", "other"), ("core", "1")], u64::MAX);
        exposition.gauge("fill", "How full.").only(0.5);
        exposition.gauge("never", "Nothing is known of it.");
        exposition.finish()
    }

    #[test]
    fn a_family_is_named_once_and_its_labels_are_escaped() {
        assert_eq!(
            write(Format::Text),
            "# HELP drops_total Frames dropped.\n\
             # TYPE drops_total counter\n\
             drops_total{reason=\"a \\\"quoted\\\" \\\\ one\",core=\"0\"} 3\n\
             drops_total{reason=\"other\",core=\"1\"} 18446744073709551615\n\
             # HELP fill How full.\n# TYPE fill gauge\nfill 0.5\n"
        );
    }

    #[test]
    fn openmetrics_names_counters_without_their_suffix_and_has_an_end() {
        let text = write(Format::OpenMetrics);
        assert!(text.contains("# TYPE drops counter\ndrops_total{"), "{text}");
        assert!(text.ends_with("fill 0.5\n# EOF\n"), "{text}");
    }
}
