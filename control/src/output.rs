//! The program's standard output, and whether all of it was taken.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::reason::reason;

static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a text. False if nobody takes it any more: the reader has gone, which is no error
/// (`director get reals | head`), or it could not be written, which [`is_whole`] tells at the
/// end and standard error says at once.
pub fn print(text: &str) -> bool {
    written(text.as_bytes(), &mut io::stdout().lock())
}

fn written(text: &[u8], to: &mut impl Write) -> bool {
    let error = match to.write_all(text).and_then(|()| to.flush()) {
        Ok(()) => return true,
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::BrokenPipe && !FAILED.swap(true, Ordering::Relaxed) {
        let why = reason(&error);
        let _ = writeln!(io::stderr().lock(), "cannot write to standard output: {why}");
    }
    false
}

/// Whether everything that was printed so far was taken by somebody, or nobody wanted it.
pub fn is_whole() -> bool {
    !FAILED.load(Ordering::Relaxed)
}
