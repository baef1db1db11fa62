//! The limits that hold before any YAML is looked at: bytes, UTF-8 and control characters.
//!
//! Nesting, aliases and the number of values are bounded by the tree, where comments and
//! quotes are told from brackets, as the events come and before anything is built.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::code::Code;
use super::problem::{Excerpt, Problem};
use crate::reason::reason;

/// The largest file, 8 MiB: about 15,000 services with 8 real servers each.
pub const MAX_BYTES: usize = 8 << 20;

/// Reads a file, but no more than it takes to see that it is too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut file = File::open(path).map_err(|error| unreadable(&error))?;
    read_from(&mut file)
}

/// As [`read`], from whatever it is.
pub(super) fn read_from(reader: &mut dyn Read) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let limited = reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes);
    limited.map_err(|error| unreadable(&error))?;
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> Problem {
    let (why, hint) = match error.kind() {
        io::ErrorKind::NotFound => {
            ("there is no such file".to_owned(), "write it, or name another one")
        }
        io::ErrorKind::IsADirectory => {
            ("it is a folder".to_owned(), "name the file in it, such as FOLDER/director.yaml")
        }
        io::ErrorKind::PermissionDenied => (reason(error), "run as a user who may read it"),
        _ => (reason(error), "check that it is a regular file"),
    };
    whole(Code::Unreadable, format!("the file cannot be read: {why}"), hint)
}

/// The text without a byte order mark, or the first thing that rules it out.
pub(super) fn checked(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > MAX_BYTES {
        let what = format!("the file has more than {MAX_BYTES} bytes (8 MiB)");
        return Err(whole(Code::TooLarge, what, "split the load over several directors"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let (good, bad) = bytes.split_at(error.valid_up_to());
            let good = String::from_utf8_lossy(good);
            let what = format!("byte 0x{:02x} is not UTF-8", bad.first().copied().unwrap_or(0));
            let hint = "save the file in the encoding UTF-8";
            return Err(at(&format!("{good}\u{fffd}"), good.len(), Code::NotUtf8, what, hint));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'\t' | b'\n' => {}
            // YAML would take a lone carriage return for a line break, editors do not.
            b'\r' if text.as_bytes().get(offset + 1) == Some(&b'\n') => {}
            0..0x20 | 0x7f => {
                let what = format!("control character 0x{byte:02x}");
                return Err(at(text, offset, Code::ControlCharacter, what, "remove it"));
            }
            _ => {}
        }
    }
    Ok(text)
}

/// A problem of the file as a whole.
fn whole(code: Code, what: String, hint: &str) -> Problem {
    Problem {
        code,
        path: String::new(),
        line: 0,
        column: 0,
        what,
        hint: Some(hint.to_owned()),
        excerpt: Excerpt::default(),
    }
}

/// A problem at a byte of the text.
fn at(text: &str, offset: usize, code: Code, what: String, hint: &str) -> Problem {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    let source: String = text
        .get(line_start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .collect();
    let (line, column) = (saturate(line), saturate(column));
    Problem {
        code,
        path: String::new(),
        line,
        column,
        what,
        hint: Some(hint.to_owned()),
        excerpt: Excerpt::of_line(&source, column),
    }
}

/// Lines and columns of 8 MiB fit into 32 bits.
pub(super) fn saturate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> (Code, u32, u32) {
        let problem = checked(bytes).unwrap_err();
        (problem.code, problem.line, problem.column)
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        assert_eq!(refused(b"a: 1\nb: \xff\n"), (Code::NotUtf8, 2, 4));
        assert_eq!(refused(b"a: 1\n\xc3"), (Code::NotUtf8, 2, 1));
        assert_eq!(refused("ü: \0".as_bytes()), (Code::ControlCharacter, 1, 4));
        assert_eq!(refused(b"\x1b[2J"), (Code::ControlCharacter, 1, 1));
        assert_eq!(refused(b"a: 1\rb: 2\n"), (Code::ControlCharacter, 1, 5));
    }

    #[test]
    fn the_size_limit_is_exact() {
        let full = "#\n".repeat(MAX_BYTES / 2);
        assert!(checked(full.as_bytes()).is_ok());
        assert_eq!(refused(format!("{full}#").as_bytes()).0, Code::TooLarge);
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
        assert_eq!(checked(b"\xef\xbb\xbfa: 1\r\n").unwrap(), "a: 1\r\n");
    }

    #[test]
    fn an_endless_file_is_read_only_to_the_limit() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap().len(), MAX_BYTES + 1);
        assert_eq!(read(Path::new("/")).unwrap_err().code, Code::Unreadable);
    }
}
