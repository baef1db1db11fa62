//! One thing that is not as it should be.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The director does not start.
    Fatal,
    /// It starts, and loses or misses something.
    Warning,
    /// It would be faster otherwise.
    Advice,
}

impl Severity {
    /// The word at the beginning of a line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Advice => "ADVICE",
        }
    }
}

/// What was found, why it matters and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `hugepages`, `port lan0`, `core 2`.
    pub about: String,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do, with the command between backticks.
    pub mend: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        about: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            about: about.into(),
            what: what.into(),
            why: why.into(),
            mend: mend.into(),
        }
    }

    /// The first command that mends it, if a command does.
    pub fn command(&self) -> Option<&str> {
        self.mend.split('`').nth(1)
    }

    /// All of it in a line, for the log.
    pub fn line(&self) -> String {
        format!("{}: {}: {}; {}", self.about, self.what, self.why, self.mend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stands_between_backticks() {
        let finding = |mend: &str| Finding::new(Severity::Fatal, "a", "b", "c", mend);
        assert_eq!(finding("run `x -y`, or `z`").command(), Some("x -y"));
        assert_eq!(finding("take fewer cores").command(), None);
        assert!(Severity::Fatal < Severity::Warning, "the worst comes first");
    }
}
