//! What the system said, as an operator reads it.

use std::io;

/// The words of an error without the number that C has for it.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::AddrInUse => "it is in use".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error ").next().unwrap_or(&text).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors_are_not_shown() {
        let told = |code| reason(&io::Error::from_raw_os_error(code));
        assert_eq!(told(libc::ENOENT), "there is no such file or folder");
        assert_eq!(told(libc::EACCES), "this user may not");
        assert_eq!(told(libc::ENOSPC), "No space left on device");
        assert_eq!(reason(&io::Error::other("too long")), "too long");
    }
}
