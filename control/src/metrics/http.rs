//! As much of HTTP/1.1 (RFC 9112) as a scraper needs: one request a connection, GET and
//! HEAD, no body, and an end to everything.
//!
//! A server library would bring an event loop and some hundred crates for three fixed pages;
//! what is wanted of it here is mostly what it must not do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::guests::{Guest, Guests, Stream as _};

/// Clients at a time.
const MOST_CLIENTS: usize = 32;
/// A request's line and headers are at most this long; more is 431.
const LONGEST_HEAD: usize = 8 << 10;
/// How long a client may take to say what it wants.
const ASKING: Duration = Duration::from_secs(5);
/// How long it may take to read the answer.
const READING: Duration = Duration::from_secs(10);
/// How long it may take to close its side, so that the answer is not lost.
const LEAVING: Duration = Duration::from_millis(500);

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path, without what follows a `?`.
    pub path: String,
    /// Whether the client takes OpenMetrics.
    pub openmetrics: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body's media type.
    pub content_type: &'static str,
    /// The body.
    pub body: Arc<str>,
}

impl Answer {
    /// A line of plain text.
    pub fn text(status: u16, body: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// A listener that answers on threads of its own, until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// The listening socket under another type: the one that can be shut down.
    listening: TcpStream,
}

impl Server {
    /// Answers what `answer` says on this listener.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub fn on(
        listener: TcpListener,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let listening = TcpStream::from(OwnedFd::from(listener.try_clone()?));
        let answer = Arc::new(answer);
        thread::Builder::new().name("metrics".into()).spawn(move || accept(&listener, &answer))?;
        Ok(Self { address, listening })
    }

    /// Where it listens: with the real port, where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ends the wait for the next client, and with it the thread and the port.
        self.listening.hang_up(Shutdown::Both);
    }
}

fn accept<A>(listener: &TcpListener, answer: &Arc<A>)
where
    A: Fn(&Asked) -> Answer + Send + Sync + 'static,
{
    let guests = Guests::new(MOST_CLIENTS);
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // What a listener says that was shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(_) => {
                // Out of file descriptors, most likely: wait for some to come back.
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        // One that finds no place is closed: it asks again at its next interval.
        let Ok(guest) = guests.admit(stream) else { continue };
        let answer = Arc::clone(answer);
        let _ = thread::Builder::new().name("metrics-client".into()).spawn(move || {
            let _ = serve(guest, &*answer);
        });
    }
}

fn serve(mut guest: Guest<TcpStream>, answer: &impl Fn(&Asked) -> Answer) -> io::Result<()> {
    guest.may_take(ASKING);
    let head = read_head(&mut guest)?;
    let (answered, with_body) = match parse(&head) {
        Ok((asked, with_body)) => (guest.serve(|| answer(&asked)), with_body),
        Err(refusal) => (refusal, true),
    };
    guest.may_take(READING);
    write(&mut guest, &answered, with_body)?;
    // Closing with something unread would take the answer back from the client.
    guest.stream().hang_up(Shutdown::Write);
    guest.may_take(LEAVING);
    let mut rest = guest.take(LONGEST_HEAD as u64);
    io::copy(&mut rest, &mut io::sink())?;
    Ok(())
}

/// Everything up to the empty line, or as much as is read at most.
fn read_head(guest: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let length = match guest.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // The end may lie across two pieces.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(piece.get(..length).unwrap_or_default());
        let fresh = head.get(from..).unwrap_or_default();
        if has_end(fresh) || head.len() > LONGEST_HEAD {
            return Ok(head);
        }
    }
}

fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| four == b"\r\n\r\n") || bytes.windows(2).any(|two| two == b"\n\n")
}

/// What is asked for, and whether the body is wanted; or the refusal.
fn parse(head: &[u8]) -> Result<(Asked, bool), Answer> {
    if head.len() > LONGEST_HEAD || !has_end(head) {
        return Err(Answer::text(431, "the request is too long\n"));
    }
    let no_http = || Answer::text(400, "this is no HTTP/1.1 request\n");
    let text = std::str::from_utf8(head).map_err(|_| no_http())?;
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(no_http());
    };
    if !version.starts_with("HTTP/1.") {
        return Err(Answer::text(505, "only HTTP/1.1 is spoken here\n"));
    }
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Err(Answer::text(405, "only GET and HEAD are answered\n")),
    };
    if !target.starts_with('/') {
        return Err(no_http());
    }
    let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    let openmetrics = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("accept") && value.contains("application/openmetrics-text")
    });
    Ok((Asked { path, openmetrics }, with_body))
}

fn write(guest: &mut impl Write, answer: &Answer, with_body: bool) -> io::Result<()> {
    let allow = if answer.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        answer.status,
        reason(answer.status),
        answer.content_type,
        answer.body.len()
    );
    guest.write_all(head.as_bytes())?;
    if with_body {
        guest.write_all(answer.body.as_bytes())?;
    }
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Server::on(listener, |asked| Answer::text(200, &format!("{asked:?}\n"))).unwrap()
    }

    fn exchange(server: &Server, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        // What is too long is answered before it is read to its end.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn a_path_is_asked_for_and_answered_and_the_connection_is_closed() {
        let server = server();
        let answer = exchange(
            &server,
            b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\naccept: application/openmetrics-text;q=1\r\n\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("Asked { path: \"/metrics\", openmetrics: true }\n"), "{answer}");
        let head = exchange(&server, b"HEAD / HTTP/1.0\n\n");
        assert!(head.contains("Content-Length: ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_own_status() {
        let server = server();
        let long = [b"GET / HTTP/1.1\r\n".to_vec(), vec![b'x'; 64 << 10]].concat();
        for (request, status) in [
            (&b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\nmischief\n"[..], "405"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
            (b"GET  /metrics HTTP/1.1\r\n\r\n", "400"),
            (b"GET http://a/metrics HTTP/1.1\r\n\r\n", "400"),
            (b"\xFF\xFE\r\n\r\n", "400"),
            (b"\r\n\r\n", "400"),
            (&long, "431"),
        ] {
            let answer = exchange(&server, request);
            let first = answer.lines().next().unwrap_or_default();
            assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: '{first}'");
        }
    }

    #[test]
    fn silent_clients_do_not_keep_a_scraper_away() {
        let server = server();
        let silent: Vec<TcpStream> =
            (0..3 * MOST_CLIENTS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        (&silent[0]).write_all(b"GET /me").unwrap_or_default();
        let answer = exchange(&server, b"GET /metrics HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[test]
    fn a_dropped_server_gives_its_port_back() {
        let first = server();
        let address = first.address();
        exchange(&first, b"GET / HTTP/1.1\r\n\r\n");
        drop(first);
        let again = (0..500).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            TcpListener::bind(address).ok()
        });
        assert!(again.is_some(), "the port is free again");
    }
}
