//! The control socket: one request and one answer a connection, each one line of JSON.
//!
//! A thread accepts; every connection has a thread of its own, so that a slow or silent
//! client keeps nobody waiting; the requests reach the control thread by a channel. All of
//! it is bounded: connections, bytes and seconds ([`crate::guests`]). The kernel says whose
//! process connected ([`crate::peers`]); nothing is read from one that may not.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;

use crate::guests::{Guest, Guests, Stream as _};
use crate::peers::Peers;
use crate::reason::reason;
pub use crate::request::{Listing, Request};

/// A request is at most this long: a configuration of 8 MiB, escaped.
const MAX_REQUEST: u64 = 20 << 20;
/// Requests longer than this are read few at a time, so that many clients take no more
/// memory than one.
const LONG_REQUEST: u64 = 64 << 10;
/// Long requests at a time.
const MAX_LONG: usize = 2;
/// Connections served at a time.
const MAX_CLIENTS: usize = 64;
/// A client may take so long to say what it wants, and as long to read the answer.
const IDLE: Duration = Duration::from_secs(5);
/// How long a client waits for the control thread.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was done.
    pub ok: bool,
    /// What there is to say; for standard output if `ok`, else for standard error.
    pub text: String,
    /// The exit code that goes with it.
    #[serde(default)]
    pub code: u8,
}

impl Reply {
    /// Done.
    pub fn done(text: impl Into<String>) -> Self {
        Self { ok: true, text: text.into(), code: 0 }
    }

    /// Refused, and why.
    pub fn refused(text: impl Into<String>) -> Self {
        Self { ok: false, text: text.into(), code: 1 }
    }
}

/// Who asks, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// The process's number; 0 where the kernel does not say.
    pub pid: i32,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.user(), self.pid)
    }
}

impl Peer {
    /// The user's name, or number where it has none.
    pub fn user(&self) -> String {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let number = self.uid.to_string();
        let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = users.find(|fields| fields.get(2) == Some(&number.as_str()));
        user.and_then(|fields| fields.first().map(|name| (*name).to_owned()))
            .unwrap_or_else(|| format!("uid {number}"))
    }

    fn of(stream: &UnixStream) -> Self {
        let Ok(credentials) = rustix::net::sockopt::socket_peercred(stream) else {
            return Self { uid: u32::MAX, gid: u32::MAX, pid: 0 };
        };
        let (uid, gid) = (credentials.uid.as_raw(), credentials.gid.as_raw());
        Self { uid, gid, pid: credentials.pid.as_raw_nonzero().get() }
    }
}

/// A request on its way to the control thread.
#[derive(Debug)]
pub struct Call {
    /// Who asks.
    pub peer: Peer,
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: Sender<Reply>,
}

/// Why the socket could not be opened, or the director not be reached.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another director listens there.
    #[error(
        "a director is running already with the socket {0}; stop it, or give this one another --socket"
    )]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{0} is there already and is no socket; it is left alone: give another path")]
    NoSocket(PathBuf),
    /// The folder or the socket could not be made.
    #[error(
        "cannot listen on {path}: {}; be root, or give a path in a folder that you may write to \
         (control.socket, --socket)",
        reason(.error)
    )]
    Listen {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Nobody listens.
    #[error("{}", unreached(.path, .error))]
    Unreachable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The answer could not be read.
    #[error("the director on {path} gave no readable answer: {}", reason(.error))]
    Garbled {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
}

impl SocketError {
    /// The exit status of a command that asked and met this: 1 if this user may not ask, as the
    /// director itself says to those who get as far as to it; else 2, as it was not reached.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Unreachable { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => 1,
            Self::Unreachable { .. }
            | Self::Garbled { .. }
            | Self::Taken(_)
            | Self::NoSocket(_)
            | Self::Listen { .. } => 2,
        }
    }
}

/// Why nobody answered, and what to do.
fn unreached(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            return format!(
                "this user may not speak to the director on {path}; be root, or have \
                 control.allow name the user"
            );
        }
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        _ => reason(error),
    };
    format!(
        "no director answers on {path} ({why}); is it running? Another socket is named with --socket"
    )
}

/// An open control socket; closing it removes the file.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    peers: Arc<Mutex<Peers>>,
    /// The requests.
    pub calls: Receiver<Call>,
}

impl Socket {
    /// Listens on this path, for the owner of the process alone (mode 0600). A missing folder
    /// is made for the owner alone, too (mode 0700).
    pub fn open(path: &Path) -> Result<Self, SocketError> {
        let listener = listen(path)?;
        let (sender, calls) = bounded(MAX_CLIENTS);
        let peers = Arc::new(Mutex::new(Peers::default()));
        let door = Door {
            guests: Guests::new(MAX_CLIENTS),
            calls: sender,
            peers: Arc::clone(&peers),
            long: Arc::default(),
        };
        thread::Builder::new()
            .name("control-socket".into())
            .spawn(move || accept(&listener, &door))
            .map_err(|error| SocketError::Listen { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), peers, calls })
    }

    /// Who may connect from now on, besides root and the director's own user.
    ///
    /// # Errors
    /// The file's mode cannot be changed; nobody else is admitted then.
    pub fn allow(&self, peers: Peers) -> Result<(), SocketError> {
        // Others get as far as to be asked who they are.
        let mode = if peers.is_empty() { 0o600 } else { 0o666 };
        let permissions = fs::Permissions::from_mode(mode);
        let failed = |error| SocketError::Listen { path: self.path.clone(), error };
        fs::set_permissions(&self.path, permissions).map_err(failed)?;
        if let Some(folder) = self.closed_folder().filter(|_| !peers.is_empty()) {
            warn!(
                "control.allow: nobody else gets into {0} (chmod 711 {0}; under systemd \
                 RuntimeDirectoryMode=0711)",
                folder.display()
            );
        }
        *lock(&self.peers) = peers;
        Ok(())
    }

    /// The folder, if others than its owner cannot reach the socket in it.
    fn closed_folder(&self) -> Option<&Path> {
        let folder = self.path.parent()?;
        let mode = fs::metadata(folder).ok()?.permissions().mode();
        (mode & 0o001 == 0).then_some(folder)
    }
}

impl Socket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |error| SocketError::Listen { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    // Whatever else stands there is somebody's: only a socket is ever replaced.
    if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => return Err(SocketError::Taken(path.to_owned())),
        // Left behind by a director that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)?;
        }
        Err(_) => {}
    }
    // Made under another name first, so that nobody can connect before the mode is set.
    let making = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&making);
    let listener = UnixListener::bind(&making).map_err(failed)?;
    fs::set_permissions(&making, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&making, path).map_err(failed)?;
    Ok(listener)
}

/// What everybody who connects passes.
#[derive(Clone)]
struct Door {
    guests: Arc<Guests<UnixStream>>,
    calls: Sender<Call>,
    peers: Arc<Mutex<Peers>>,
    /// Long requests that are being read.
    long: Arc<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &UnixListener, door: &Door) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of file descriptors, most likely: wait for some to come back.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        match door.guests.admit(stream) {
            Ok(guest) => {
                let door = door.clone();
                let _ = thread::Builder::new()
                    .name("control-client".into())
                    .spawn(move || serve(guest, &door));
            }
            Err(mut stream) => {
                // Nobody waits for one that does not read this.
                let _ = stream.wait_to_write(Duration::from_millis(1));
                say(&mut stream, &Reply::refused(CROWDED));
            }
        }
    }
}

fn serve(mut guest: Guest<UnixStream>, door: &Door) {
    let peer = Peer::of(guest.stream());
    let peers = lock(&door.peers).clone();
    guest.may_take(IDLE);
    let admitted = peers.admit(&peer);
    let request = admitted.and_then(|()| read_request(&mut guest, &door.long));
    let reply = match request {
        Ok(request) => guest.serve(|| ask(request, peer, &door.calls)),
        Err(why) => Reply::refused(why),
    };
    guest.may_take(IDLE);
    say(&mut guest, &reply);
}

fn read_request(stream: &mut impl Read, long: &AtomicUsize) -> Result<Request, String> {
    let mut line = Vec::new();
    read_line(stream, &mut line, LONG_REQUEST)?;
    if line.last() != Some(&b'\n') && line.len() as u64 == LONG_REQUEST {
        let others = long.fetch_add(1, Ordering::Relaxed);
        let read = match others < MAX_LONG {
            true => read_line(stream, &mut line, MAX_REQUEST),
            false => Err("too many long requests at once; try again".to_owned()),
        };
        long.fetch_sub(1, Ordering::Relaxed);
        read?;
    }
    if line.last() != Some(&b'\n') {
        return Err(format!("the request is longer than {MAX_REQUEST} bytes or was cut off"));
    }
    serde_json::from_slice(&line).map_err(|error| format!("no request that is known: {error}"))
}

fn read_line(stream: &mut impl Read, line: &mut Vec<u8>, most: u64) -> Result<(), String> {
    let mut reader = BufReader::new(stream.take(most - line.len() as u64));
    let read = reader.read_until(b'\n', line);
    read.map(drop).map_err(|error| format!("no request came: {error}"))
}

fn ask(request: Request, peer: Peer, calls: &Sender<Call>) -> Reply {
    let (reply, answer) = bounded(1);
    if calls.send_timeout(Call { peer, request, reply }, IDLE).is_err() {
        return Reply::refused("the director is busy or stopping; try again");
    }
    answer
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| Reply::refused("the director did not answer in time"))
}

fn say(stream: &mut impl Write, reply: &Reply) {
    if let Ok(mut text) = serde_json::to_vec(reply) {
        text.push(b'\n');
        // A client that went away does not want it any more.
        let _ = stream.write_all(&text);
    }
}

/// What a client is told for whom there is no place.
const CROWDED: &str = "too many clients at once; try again";
/// So often a client asks that is told so, and waits so long in between.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Asks the director that listens on this socket, a few times if too many others do.
pub fn call(path: &Path, request: &Request) -> Result<Reply, SocketError> {
    for _ in 1..TRIES {
        let reply = call_once(path, request)?;
        if reply.ok || reply.text != CROWDED {
            return Ok(reply);
        }
        thread::sleep(BETWEEN_TRIES);
    }
    call_once(path, request)
}

fn call_once(path: &Path, request: &Request) -> Result<Reply, SocketError> {
    let unreachable = |error| SocketError::Unreachable { path: path.to_owned(), error };
    let garbled = |error| SocketError::Garbled { path: path.to_owned(), error };
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    let _ = stream.set_read_timeout(Some(PATIENCE + IDLE));
    let mut line = serde_json::to_vec(request).map_err(|e| garbled(e.into()))?;
    line.push(b'\n');
    // A director that sends this client away says why before it has read everything, so a
    // request that could not be written whole may have an answer all the same.
    let written = stream.write_all(&line);
    let mut answer = String::new();
    match (BufReader::new(&stream).read_line(&mut answer), written) {
        (Ok(0), Err(error)) => return Err(unreachable(error)),
        (Err(_), Err(error)) => return Err(unreachable(error)),
        (Err(error), Ok(())) => return Err(garbled(error)),
        (Ok(_), _) => {}
    }
    serde_json::from_str(&answer).map_err(|error| garbled(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("director-api-{name}-{}.sock", std::process::id()))
    }

    fn serve_one(socket: Socket) -> thread::JoinHandle<Request> {
        thread::spawn(move || {
            let call = socket.calls.recv().unwrap();
            call.reply.send(Reply::done("fine")).unwrap();
            call.request
        })
    }

    #[test]
    fn a_request_is_answered_and_the_socket_is_the_owners_alone() {
        let path = path("answered");
        let socket = Socket::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let served = serve_one(socket);
        let request = Request::Status { json: true };
        assert_eq!(call(&path, &request).unwrap(), Reply::done("fine"));
        assert_eq!(served.join().unwrap(), request);
        assert!(!path.exists());
    }

    #[test]
    fn silent_clients_keep_nobody_waiting_and_garbage_is_refused() {
        let path = path("silent");
        let socket = Socket::open(&path).unwrap();
        let silent: Vec<UnixStream> =
            (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let mut garbage = UnixStream::connect(&path).unwrap();
        garbage.write_all(b"{\"request\":\"format_disk\"}\n").unwrap();
        let mut said = String::new();
        BufReader::new(&garbage).read_line(&mut said).unwrap();
        assert!(said.contains("no request that is known"), "{said}");
        let served = serve_one(socket);
        assert!(call(&path, &Request::Status { json: false }).unwrap().ok);
        served.join().unwrap();
        drop(silent);
    }

    #[test]
    fn more_silent_clients_than_there_are_places_keep_nobody_waiting() {
        let path = path("crowd");
        let socket = Socket::open(&path).unwrap();
        let silent: Vec<UnixStream> =
            (0..3 * MAX_CLIENTS).map(|_| UnixStream::connect(&path).unwrap()).collect();
        for mut stream in &silent {
            let _ = stream.write_all(b"{\"request\":");
        }
        let served = serve_one(socket);
        assert!(call(&path, &Request::Status { json: false }).unwrap().ok);
        served.join().unwrap();
        drop(silent);
    }

    #[test]
    fn an_answer_is_read_to_its_end_however_many_clients_come_meanwhile() {
        let path = path("flood");
        let socket = Socket::open(&path).unwrap();
        let text = "x".repeat(16 << 20);
        let answer = Reply::done(text);
        let said = answer.clone();
        let served = thread::spawn(move || {
            let call = socket.calls.recv().unwrap();
            call.reply.send(said).unwrap();
            socket
        });
        let mut asking = UnixStream::connect(&path).unwrap();
        asking.write_all(b"{\"request\":\"status\",\"json\":true}\n").unwrap();
        let mut reader = BufReader::with_capacity(1 << 20, &asking);
        // The answer has begun.
        assert!(!reader.fill_buf().unwrap().is_empty());
        let mut silent = Vec::new();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            for _ in 0..MAX_CLIENTS {
                let mut stream = UnixStream::connect(&path).unwrap();
                let _ = stream.write_all(b"{\"request\":");
                silent.push(stream);
            }
            let mut piece = (&mut reader).take(4 << 20);
            assert!(piece.read_until(b'\n', &mut line).unwrap() > 0, "it was cut off");
        }
        assert_eq!(serde_json::from_slice::<Reply>(&line).unwrap(), answer);
        drop(served.join().unwrap());
    }

    #[test]
    fn long_requests_are_read_few_at_a_time_and_never_beyond_their_limit() {
        let long = AtomicUsize::new(MAX_LONG);
        let text = vec![b' '; LONG_REQUEST as usize + 10];
        let error = read_request(&mut text.as_slice(), &long).unwrap_err();
        assert!(error.contains("too many long requests"), "{error}");
        assert_eq!(long.load(Ordering::Relaxed), MAX_LONG);
        long.store(0, Ordering::Relaxed);
        let error = read_request(&mut io::repeat(b' '), &long).unwrap_err();
        assert!(error.contains("longer than"), "{error}");
        let mut whole = vec![b' '; 1 << 20];
        whole.extend_from_slice(b"{\"request\":\"status\",\"json\":true}\n");
        let request = read_request(&mut whole.as_slice(), &long).unwrap();
        assert_eq!(request, Request::Status { json: true });
        assert_eq!(long.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_second_director_on_the_same_socket_is_told_so_and_a_dead_one_is_replaced() {
        let path = path("twice");
        let socket = Socket::open(&path).unwrap();
        assert!(matches!(Socket::open(&path), Err(SocketError::Taken(_))));
        drop(socket);
        let dead = UnixListener::bind(&path).unwrap();
        drop(dead);
        assert!(path.exists());
        drop(Socket::open(&path).unwrap());
    }

    #[test]
    fn a_missing_folder_is_made_for_the_owner_alone_and_one_that_is_there_stays_as_it_is() {
        let folder = path("folder").with_extension("d");
        let inner = folder.join("deep/er");
        drop(Socket::open(&inner.join("control.sock")).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for made in [&inner, &folder.join("deep"), &folder] {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o750)).unwrap();
        drop(Socket::open(&inner.join("control.sock")).unwrap());
        assert_eq!(mode(&inner), 0o750);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = path("precious");
        fs::write(&path, "precious").unwrap();
        let error = Socket::open(&path).unwrap_err();
        assert!(error.to_string().contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nobody_there_is_said_in_a_sentence() {
        let error = call(&path("nobody"), &Request::Status { json: false }).unwrap_err();
        assert!(error.to_string().contains("is it running?"), "{error}");
    }
}
