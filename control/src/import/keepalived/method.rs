//! `lvs_method` and its older name `lb_kind`.

use std::num::NonZeroU16;

use crate::config::model::{Forwarding, GueChecksum, Tunnel};

/// How packets are forwarded; `None` for words that are not understood.
pub(super) fn method<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Forwarding> {
    match words.next()?.to_ascii_uppercase().as_str() {
        "NAT" => Some(Forwarding::Masq),
        "DR" => Some(Forwarding::Route),
        "TUN" => tunnel(words).map(Forwarding::Tunnel),
        _ => None,
    }
}

/// `[type ipip|gue port N|gre] [nocsum|csum|remcsum]`.
fn tunnel<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Tunnel> {
    let (mut kind, mut port, mut checksum) = ("ipip", None, GueChecksum::None);
    while let Some(word) = words.next() {
        match word {
            "type" => kind = words.next()?,
            "port" => port = words.next()?.parse::<NonZeroU16>().ok(),
            "nocsum" => checksum = GueChecksum::None,
            "csum" => checksum = GueChecksum::Full,
            "remcsum" => checksum = GueChecksum::Remote,
            _ => return None,
        }
    }
    match kind {
        "ipip" => Some(Tunnel::Ipip),
        "gre" if checksum != GueChecksum::Remote => {
            Some(Tunnel::Gre { checksum: checksum == GueChecksum::Full })
        }
        "gue" => port.map(|port| Tunnel::Gue { port, checksum }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_method_is_read() {
        let read = |text: &str| method(text.split(' '));
        let port = NonZeroU16::new(6080).unwrap();
        assert_eq!(read("NAT"), Some(Forwarding::Masq));
        assert_eq!(read("dr"), Some(Forwarding::Route));
        assert_eq!(read("TUN"), Some(Forwarding::Tunnel(Tunnel::Ipip)));
        assert_eq!(
            read("TUN type gue port 6080 remcsum"),
            Some(Forwarding::Tunnel(Tunnel::Gue { port, checksum: GueChecksum::Remote }))
        );
        assert_eq!(
            read("TUN type gre csum"),
            Some(Forwarding::Tunnel(Tunnel::Gre { checksum: true }))
        );
        for bad in ["", "NAT2", "TUN type gue", "TUN type gre remcsum", "TUN gue"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
