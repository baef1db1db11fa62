//! Mistakes of a command line, in sentences: of numbers, clap says neither what kind of number is
//! wanted nor where it ends.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error, Parser};

use super::Cli;

/// Reads the command line of the process, or ends it with what is wrong and exit status 2.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| said(error).exit())
}

/// The same mistake, with what is allowed where a number is wanted.
pub(super) fn said(error: Error) -> Error {
    let Some(allowed) = allowed(&error) else { return error };
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let (value, argument) = (context(ContextKind::InvalidValue), context(ContextKind::InvalidArg));
    let sentence = format!("'{value}' is no value for '{argument}': write {allowed}");
    Cli::command().error(ErrorKind::ValueValidation, sentence)
}

/// The numbers that fit, in words; `None` where the mistake is another one.
fn allowed(error: &Error) -> Option<String> {
    if error.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let why = error.source()?;
    if why.is::<std::num::ParseFloatError>() {
        return Some("a number such as 2 or 0.5".to_owned());
    }
    let why = why.to_string();
    if let Some((_, range)) = why.split_once(" is not in ") {
        let (first, last) = range.split_once("..")?;
        let last: u64 = last.trim_start_matches('=').parse().ok()?;
        // Above, only what a computer can count limits it.
        return Some(match last {
            0..=4_294_967_295 => format!("a whole number from {first} to {last}"),
            _ => format!("a whole number, {first} or more"),
        });
    }
    let is_integer = why.contains("integer") || why.contains("digit") || why.contains("number too");
    is_integer.then(|| "a whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
        let error = said(error);
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn numbers_that_do_not_fit_are_told_what_does() {
        for (line, sentence) in [
            (
                "director trace --count 0",
                "'0' is no value for '--count <N>': write a whole number, 1 or more",
            ),
            (
                "director trace --rate 0",
                "'0' is no value for '--rate <N>': write a whole number from 1 to 100000",
            ),
            ("director trace --count ten", "'ten' is no value for '--count <N>': write a whole"),
            (
                "director capture -o f --snaplen 7",
                "'7' is no value for '--snaplen <BYTES>': write a whole number from 14 to 65535",
            ),
            ("director bench --clients 4294967296", "write a whole number from 0 to 4294967295"),
            ("director bench --clients=-1", "write a whole number from 0 to 4294967295"),
            ("director bench --cores one", "'one' is no value for '--cores <N,N...>': write a"),
            ("director bench --new much", "write a number such as 2 or 0.5"),
            ("director rollback latest", "'latest' is no value for '[GENERATION]': write a whole"),
            (
                "director rollback 99999999999999999999",
                "'99999999999999999999' is no value for '[GENERATION]': write a whole number",
            ),
            ("director drain 198.18.10.11 --deadline 0", "write 1 s to 31 days, such as 90s"),
            ("director trace --for 0s", "write a time such as 10s"),
        ] {
            let said = told(line);
            assert!(said.contains(sentence), "{line}: {said}");
            assert!(!said.contains("..") || line.contains("cores"), "{line}: {said}");
        }
    }

    #[test]
    fn other_mistakes_stay_as_they_are() {
        for (line, part) in [
            ("director trace --count", "a value is required for '--count <N>'"),
            ("director nosuch", "unrecognized subcommand 'nosuch'"),
            ("director get nosuch", "possible values"),
        ] {
            let said = told(line);
            assert!(said.contains(part), "{line}: {said}");
        }
    }
}
