//! Words into options, as the popt library cuts them up.

use super::Usage;
use super::option::{Argument, Meaning, SPELLINGS, Spelling};

/// One option as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) meaning: Meaning,
    /// The argument, where the option has one.
    pub(super) value: Option<String>,
    /// The word that it stood in, for messages.
    pub(super) word: String,
}

/// Why there is no next option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Unknown(String),
    MissingArgument(String),
    UnwantedArgument(String),
}

impl From<Bad> for Usage {
    fn from(bad: Bad) -> Self {
        let message = match bad {
            Bad::Unknown(word) => format!("{word}: unknown option"),
            Bad::MissingArgument(word) => format!("{word}: missing argument"),
            Bad::UnwantedArgument(word) => format!("{word}: option does not take an argument"),
        };
        Self { message, exit: 255 }
    }
}

/// Reads options one after the other; words that are none are put aside.
pub(super) struct Scanner<'a> {
    words: std::slice::Iter<'a, String>,
    /// The rest of a bundle of short options, and the whole word.
    bundle: Option<(Vec<char>, String)>,
    /// After `--` nothing is an option any more.
    over: bool,
    pub(super) left: Vec<String>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Self { words: words.iter(), bundle: None, over: false, left: Vec::new() }
    }

    /// The next option; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<Given, Bad>> {
        if let Some((letters, word)) = self.bundle.take() {
            return Some(self.short(letters, word));
        }
        loop {
            let word = self.words.next()?;
            if self.over || word == "-" || !word.starts_with('-') {
                self.left.push(word.clone());
            } else if word == "--" {
                self.over = true;
            } else if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(long, word));
            } else {
                return Some(self.short(word.chars().skip(1).collect(), word.clone()));
            }
        }
    }

    fn long(&mut self, text: &str, word: &str) -> Result<Given, Bad> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let spelling = SPELLINGS.iter().find(|spelling| spelling.long == name);
        let spelling = spelling.ok_or_else(|| Bad::Unknown(word.to_owned()))?;
        self.finish(spelling, value, word.to_owned())
    }

    fn short(&mut self, letters: Vec<char>, word: String) -> Result<Given, Bad> {
        let (letter, rest) = match letters.split_first() {
            Some((letter, rest)) => (Some(*letter), rest.to_vec()),
            None => (None, Vec::new()),
        };
        let spelling =
            SPELLINGS.iter().find(|spelling| letter.is_some() && spelling.short == letter);
        let spelling = spelling.ok_or_else(|| Bad::Unknown(word.clone()))?;
        if rest.is_empty() {
            return self.finish(spelling, None, word);
        }
        if spelling.argument == Argument::None && rest.first() != Some(&'=') {
            self.bundle = Some((rest, word.clone()));
            return Ok(Given { meaning: spelling.meaning, value: None, word });
        }
        let value: String = rest.into_iter().collect();
        let value = value.strip_prefix('=').map(str::to_owned).unwrap_or(value);
        self.finish(spelling, Some(value), word)
    }

    /// Gives an option the next word as its argument, where it takes one and has none yet.
    fn finish(
        &mut self,
        spelling: &Spelling,
        value: Option<String>,
        word: String,
    ) -> Result<Given, Bad> {
        let value = match (spelling.argument, value) {
            (Argument::None, Some(_)) => return Err(Bad::UnwantedArgument(word)),
            (Argument::None, None) => None,
            (_, Some(value)) => Some(value),
            (Argument::Required, None) => match self.words.next() {
                Some(value) => Some(value.clone()),
                None => return Err(Bad::MissingArgument(word)),
            },
            (Argument::Optional, None) => {
                let mut ahead = self.words.clone();
                match ahead.next() {
                    Some(value) if !value.starts_with('-') => {
                        self.words = ahead;
                        Some(value.clone())
                    }
                    _ => None,
                }
            }
        };
        Ok(Given { meaning: spelling.meaning, value, word })
    }
}
