//! Servers that answer with a name, and clients that read it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::node::Node;
use super::socket::connect;
use super::{PATIENCE, farm};

/// Serves TCP on an address of a node until the test ends: every line is sent back behind
/// the name.
pub fn tcp(node: &Node, address: &str, name: &str) {
    let listener = node.inside(|| TcpListener::bind(address).unwrap());
    let name = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = name.clone();
            std::thread::spawn(move || converse(&stream, &name));
        }
    });
}

fn converse(mut stream: &TcpStream, name: &str) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        if stream.write_all(format!("{name} {line}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// Serves UDP in the same way.
pub fn udp(node: &Node, address: &str, name: &str) {
    let socket = node.inside(|| UdpSocket::bind(address).unwrap());
    let name = name.to_owned();
    std::thread::spawn(move || {
        let mut bytes = [0u8; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let _ = socket.send_to(format!("{name} {text}").as_bytes(), from);
        }
    });
}

/// TCP on these ports of every VIP on every real server of a farm.
pub fn everywhere(farm: &farm::Farm, ports: &[u16]) {
    for (index, node) in farm.servers.iter().enumerate() {
        for port in ports {
            tcp(node, &format!("[::]:{port}"), &farm::name(index));
        }
    }
}

/// A TCP connection that is spoken over line by line.
pub struct Talk {
    stream: BufReader<TcpStream>,
}

impl Talk {
    /// Connects from an address of the node; panics if nobody answers.
    pub fn open(node: &Node, from: &str, to: &str) -> Self {
        Self::try_open(node, from, to, PATIENCE)
            .unwrap_or_else(|error| panic!("{from} to {to}: {error}"))
    }

    /// The same, or why not.
    pub fn try_open(node: &Node, from: &str, to: &str, within: Duration) -> std::io::Result<Self> {
        let from = SocketAddr::new(from.parse().unwrap(), 0);
        let stream = connect(node, from, to.parse().unwrap(), within)?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The client's port.
    pub fn port(&self) -> u16 {
        self.stream.get_ref().local_addr().unwrap().port()
    }

    /// Says a line and gives back the name of the server that answers it.
    pub fn say(&mut self, line: &str) -> String {
        self.send(line);
        self.hear(line)
    }

    /// Says a line.
    pub fn send(&mut self, line: &str) {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The name of the server that answers this line.
    pub fn hear(&mut self, line: &str) -> String {
        let mut answer = String::new();
        self.stream.read_line(&mut answer).unwrap();
        let (name, echo) = answer.trim_end().split_once(' ').expect("a name and the line");
        assert_eq!(echo, line);
        name.to_owned()
    }
}

/// Connects, says a line, hangs up: the name of the server.
pub fn ask(node: &Node, from: &str, to: &str) -> String {
    Talk::open(node, from, to).say("who")
}
