//! Clients of a listening socket: few at a time, and none for long.
//!
//! Whoever listens on a socket gives each client a thread. A client that is slow, silent or
//! hostile can hold no more than one place for a bounded time: everything that is read from
//! it or written to it has one deadline, however small the pieces are, and when all places
//! are taken the one that kept its thread waiting the longest is hung up on for the next.
//! Whoever has said what it wants, and reads the answer, is left alone.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection whose waiting can be bounded.
pub trait Stream: Send + Sync + 'static {
    /// Bounds one read.
    fn wait_to_read(&self, most: Duration) -> io::Result<()>;
    /// Bounds one write.
    fn wait_to_write(&self, most: Duration) -> io::Result<()>;
    /// Ends the connection, whoever waits on it.
    fn hang_up(&self, how: Shutdown);
}

macro_rules! stream {
    ($kind:ty) => {
        impl Stream for $kind {
            fn wait_to_read(&self, most: Duration) -> io::Result<()> {
                self.set_read_timeout(Some(most))
            }

            fn wait_to_write(&self, most: Duration) -> io::Result<()> {
                self.set_write_timeout(Some(most))
            }

            fn hang_up(&self, how: Shutdown) {
                // A connection that is gone already cannot be ended again.
                let _ = self.shutdown(how);
            }
        }
    };
}

stream!(TcpStream);
stream!(UnixStream);

/// The places at a socket.
#[derive(Debug)]
pub struct Guests<S> {
    most: usize,
    list: Mutex<List<S>>,
}

#[derive(Debug)]
struct List<S> {
    next: u64,
    taken: Vec<Place<S>>,
}

#[derive(Debug)]
struct Place<S> {
    id: u64,
    stream: Arc<S>,
    waits: Waits,
}

/// What the thread of a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// For what the client wants, since then.
    Question(Instant),
    /// For the director.
    Director,
    /// For the client to read, which it did then the last time.
    Reader(Instant),
}

/// One that has not read anything of its answer for so long may be hung up on for another.
const STALLED: Duration = Duration::from_secs(1);

impl Waits {
    /// How readily the client makes room, the least first: those that have not said what they
    /// want before those that do not take their answer. `None` while it is being answered.
    fn standing(self, now: Instant) -> Option<(bool, Instant)> {
        match self {
            Self::Question(since) => Some((false, since)),
            Self::Director => None,
            Self::Reader(since) => {
                (now.saturating_duration_since(since) >= STALLED).then_some((true, since))
            }
        }
    }
}

impl<S: Stream> Guests<S> {
    /// So many places.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, list: Mutex::new(List { next: 0, taken: Vec::new() }) })
    }

    fn list(&self) -> MutexGuard<'_, List<S>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a client a place; where none is free, that of the client that has not said what
    /// it wants for the longest, or of one that does not take its answer. Gives the stream back
    /// if all are being served.
    pub fn admit(self: &Arc<Self>, stream: S) -> Result<Guest<S>, S> {
        let mut list = self.list();
        if list.taken.len() >= self.most {
            let now = Instant::now();
            let longest = (list.taken.iter().enumerate())
                .filter_map(|(index, place)| Some((place.waits.standing(now)?, index)))
                .min();
            match longest {
                None => return Err(stream),
                Some((_, index)) => list.taken.swap_remove(index).stream.hang_up(Shutdown::Both),
            }
        }
        let stream = Arc::new(stream);
        let id = list.next;
        list.next = list.next.wrapping_add(1);
        let now = Instant::now();
        let waits = Waits::Question(now);
        list.taken.push(Place { id, stream: Arc::clone(&stream), waits });
        drop(list);
        Ok(Guest { id, stream, guests: Arc::clone(self), until: now })
    }

    /// Places that are taken.
    pub fn count(&self) -> usize {
        self.list().taken.len()
    }

    fn mark(&self, id: u64, waits: Waits) {
        if let Some(place) = self.list().taken.iter_mut().find(|place| place.id == id) {
            place.waits = waits;
        }
    }
}

/// Bytes that are written at a time.
const PIECE: usize = 64 << 10;

/// A client at its place. Reads and writes end at the deadline that was set last.
#[derive(Debug)]
pub struct Guest<S: Stream> {
    id: u64,
    stream: Arc<S>,
    guests: Arc<Guests<S>>,
    until: Instant,
}

impl<S: Stream> Guest<S> {
    /// From now on, everything that is read and written together may take this long.
    pub fn may_take(&mut self, most: Duration) {
        self.until = Instant::now() + most;
    }

    /// Does what the client has asked for: meanwhile it is not to blame for the time.
    pub fn serve<T>(&self, work: impl FnOnce() -> T) -> T {
        self.guests.mark(self.id, Waits::Director);
        let done = work();
        self.guests.mark(self.id, Waits::Reader(Instant::now()));
        done
    }

    /// The connection itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl<S: Stream> Read for Guest<S>
where
    for<'a> &'a S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.wait_to_read(self.left()?)?;
        (&*self.stream).read(buffer)
    }
}

impl<S: Stream> Write for Guest<S>
where
    for<'a> &'a S: Write,
{
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.wait_to_write(self.left()?)?;
        // In pieces, so that it is known when the client reads.
        let piece = buffer.get(..PIECE).unwrap_or(buffer);
        let written = (&*self.stream).write(piece)?;
        self.guests.mark(self.id, Waits::Reader(Instant::now()));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.stream).flush()
    }
}

impl<S: Stream> Drop for Guest<S> {
    fn drop(&mut self) {
        self.guests.list().taken.retain(|place| place.id != self.id);
        // The list may have let go of it first, so closing is not left to the last holder.
        self.stream.hang_up(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn a_client_that_sends_a_byte_now_and_then_is_hung_up_on_at_its_deadline() {
        let guests = Guests::new(4);
        let (near, far) = pair();
        let mut guest = guests.admit(near).unwrap();
        guest.may_take(Duration::from_millis(200));
        std::thread::scope(|scope| {
            scope.spawn(|| while (&far).write_all(b"x").is_ok() {});
            let mut text = Vec::new();
            // The sender never pauses, so that only the deadline ends this.
            let error = guest.read_to_end(&mut text).unwrap_err();
            let late = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
            assert!(late.contains(&error.kind()), "{error}");
            assert!(!text.is_empty());
            drop(guest);
        });
        assert_eq!(guests.count(), 0);
    }

    #[test]
    fn when_all_places_are_taken_the_one_silent_the_longest_makes_room() {
        let guests = Guests::new(2);
        let (pairs, mut admitted): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let (near, far) = pair();
                (far, guests.admit(near).unwrap())
            })
            .unzip();
        let (near, _far) = pair();
        let third = guests.admit(near).unwrap();
        assert_eq!(guests.count(), 2);
        let mut buffer = [0; 1];
        assert_eq!((&pairs[0]).read(&mut buffer).unwrap(), 0, "the first one was hung up on");
        (&pairs[1]).write_all(b"y").unwrap();
        admitted[1].may_take(Duration::from_secs(10));
        assert_eq!(admitted[1].read(&mut buffer).unwrap(), 1, "the second one was not");
        drop((admitted, third));
        assert_eq!(guests.count(), 0);
    }

    #[test]
    fn a_client_that_is_being_served_is_never_hung_up_on_for_another() {
        let guests = Guests::new(1);
        let (near, _far) = pair();
        let served = guests.admit(near).unwrap();
        served.serve(|| {
            let (near, _far) = pair();
            assert!(guests.admit(near).is_err());
        });
    }

    #[test]
    fn who_reads_its_answer_stays_and_who_does_not_makes_room_after_the_silent_ones() {
        let guests = Guests::new(2);
        let (near, _first) = pair();
        let answered = guests.admit(near).unwrap();
        answered.serve(|| ());
        let (near, silent) = pair();
        let _silent = guests.admit(near).unwrap();
        let (near, _third) = pair();
        let third = guests.admit(near).unwrap();
        assert_eq!((&silent).read(&mut [0; 1]).unwrap(), 0, "the silent one was hung up on");
        third.serve(|| {
            let (near, _far) = pair();
            assert!(guests.admit(near).is_err(), "its answer may still be on its way");
            let long_ago = Instant::now().checked_sub(2 * STALLED).unwrap();
            guests.mark(answered.id, Waits::Reader(long_ago));
            let (near, _far) = pair();
            assert!(guests.admit(near).is_ok(), "nobody reads that answer");
        });
    }

    #[test]
    fn a_client_that_does_not_read_is_hung_up_on_at_its_deadline() {
        let guests = Guests::new(1);
        let (near, _far) = pair();
        let mut guest = guests.admit(near).unwrap();
        guest.may_take(Duration::from_millis(100));
        assert!(guest.write_all(&vec![0; 64 << 20]).is_err());
    }
}
