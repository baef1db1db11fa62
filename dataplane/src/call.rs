//! SIP calls by their names: what a core tells control of a call that it has bound, so that
//! listings can say whose call it is. The tables themselves keep a hash of it.

use std::fmt;

use crate::table::ClientKey;
use crate::wire::Addr;

/// The longest Call-ID that IPVS takes.
pub const LONGEST_CALL_ID: usize = 255;

/// A call that a client has with a service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What its template is found by.
    pub key: ClientKey,
    /// The client, under the service's netmask.
    pub client: Addr,
    len: u8,
    bytes: [u8; LONGEST_CALL_ID],
}

impl Call {
    /// A call with this Call-ID, of which the first 255 bytes count.
    pub fn new(key: ClientKey, client: Addr, call_id: &[u8]) -> Self {
        let mut bytes = [0; LONGEST_CALL_ID];
        for (to, from) in bytes.iter_mut().zip(call_id) {
            *to = *from;
        }
        Self { key, client, len: call_id.len().min(LONGEST_CALL_ID) as u8, bytes }
    }

    /// The Call-ID, 1 to 255 bytes of printable ASCII.
    pub fn call_id(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({}, {})", self.client, self.call_id().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_its_name() {
        let call = |id: &[u8]| Call::new(ClientKey::V4(1), Addr::v4(2), id);
        assert_eq!(call(b"abc@x").call_id(), b"abc@x");
        assert_eq!(call(&[b'a'; 255]).call_id().len(), 255);
        assert_eq!(call(&[b'a'; 300]).call_id().len(), 255);
        assert_eq!(format!("{:?}", call(b"a\\b")), "Call(0.0.0.2, a\\\\b)");
    }
}
