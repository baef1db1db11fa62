//! nft's language cut into words and blocks.

/// A word, a string without its quotes, or one of the signs that stand for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    Comma,
    /// A line's end or a semicolon.
    End,
}

/// Tokens of a text that are read.
pub(super) const MOST_TOKENS: usize = 1_000_000;

/// All tokens, each with its line; a few more than [`MOST_TOKENS`] of a text that has more.
pub(super) fn tokens(text: &str) -> Vec<(u32, Token<'_>)> {
    let mut tokens = Vec::with_capacity(text.len().min(MOST_TOKENS + 4));
    for (line, number) in text.lines().zip(1_u32..) {
        // The word that has begun is between these two.
        let (mut begin, mut end) = (0, 0);
        let mut chars = line.char_indices().peekable();
        let mut quoted = false;
        let continued = line.ends_with('\\');
        while let Some((at, c)) = chars.next() {
            if tokens.len() > MOST_TOKENS {
                return tokens;
            }
            let next = at + c.len_utf8();
            let sign = match c {
                '"' => {
                    quoted = !quoted;
                    if !quoted && begin == end {
                        tokens.push((number, Token::Word("")));
                    }
                    None
                }
                _ if quoted => {
                    end = next;
                    continue;
                }
                '#' => break,
                '\\' => None,
                '{' => Some(Token::Open),
                '}' => Some(Token::Close),
                ',' => Some(Token::Comma),
                ';' => Some(Token::End),
                '(' | ')' | '=' | '!' | '&' | '|' | '^' | '<' | '>' => {
                    flush(number, line, begin..end, &mut tokens);
                    (begin, end) = (at, next);
                    if matches!(c, '=' | '!' | '<' | '>')
                        && let Some((equal, _)) = chars.next_if(|(_, c)| *c == '=')
                    {
                        end = equal + 1;
                    }
                    None
                }
                c if c.is_whitespace() => None,
                _ => {
                    end = next;
                    continue;
                }
            };
            flush(number, line, begin..end, &mut tokens);
            begin = end.max(next);
            end = begin;
            tokens.extend(sign.map(|sign| (number, sign)));
        }
        flush(number, line, begin..end, &mut tokens);
        if !continued {
            tokens.push((number, Token::End));
        }
    }
    tokens
}

fn flush<'a>(
    number: u32,
    line: &'a str,
    word: std::ops::Range<usize>,
    tokens: &mut Vec<(u32, Token<'a>)>,
) {
    if let Some(word) = line.get(word).filter(|word| !word.is_empty()) {
        tokens.push((number, Token::Word(word)));
    }
}

/// Goes through tokens.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [(u32, Token<'a>)],
    line: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [(u32, Token<'a>)]) -> Self {
        Self { rest: tokens, line: tokens.first().map_or(0, |(line, _)| *line) }
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.rest.first().map(|(_, token)| *token)
    }

    /// The line of the last token that was taken.
    pub(super) fn line(&self) -> usize {
        self.line as usize
    }

    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        let ((line, token), rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line = *line;
        Some(*token)
    }

    pub(super) fn word(&mut self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.next();
                Some(word)
            }
            _ => None,
        }
    }

    /// The next word, if it is this one.
    pub(super) fn take(&mut self, expected: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word == expected);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn take_token(&mut self, expected: Token<'_>) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.next();
        }
        found
    }

    /// The tokens up to the end of the statement, which is behind the blocks that it contains.
    pub(super) fn statement(&mut self) -> Cursor<'a> {
        let all = self.rest;
        let mut depth = 0_usize;
        let mut count = 0;
        while let Some(token) = self.peek() {
            match token {
                Token::Open => depth += 1,
                Token::Close if depth == 0 => break,
                Token::Close => depth -= 1,
                Token::End if depth == 0 => {
                    self.next();
                    break;
                }
                _ => {}
            }
            self.next();
            count += 1;
        }
        Cursor::new(all.get(..count).unwrap_or_default())
    }

    /// The tokens of a block that has been opened, up to its end.
    pub(super) fn block(&mut self) -> Cursor<'a> {
        let all = self.rest;
        let mut depth = 0_usize;
        let mut count = 0;
        while let Some(token) = self.next() {
            match token {
                Token::Open => depth += 1,
                Token::Close if depth == 0 => break,
                Token::Close => depth -= 1,
                _ => {}
            }
            count += 1;
        }
        Cursor::new(all.get(..count).unwrap_or_default())
    }

    /// How many tokens are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next token alone.
    pub(super) fn one(&mut self) -> Cursor<'a> {
        Cursor::new(self.rest.get(..1).unwrap_or_default())
    }

    /// The words that are left, for a note.
    pub(super) fn shown(&self) -> String {
        let words = self.rest.iter().map(|(_, token)| match token {
            Token::Word(word) => *word,
            Token::Open => "{",
            Token::Close => "}",
            Token::Comma => ",",
            Token::End => "",
        });
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}
