//! A service as an operator names one: by its name, by what it is known by, such as `mark/10`
//! and `tcp/198.18.10.80:80`, or by the end of either, such as `10` and `198.18.10.80:80`.

use dataplane::snapshot::Identity;
use dataplane::wire::Family;

use crate::listing::identity_text;

/// What a service is known by, as it is called that has no name of its own.
pub fn known_by(identity: &Identity) -> String {
    match identity {
        Identity::Mark { family: Family::V6, mark } => format!("mark6/{}", mark.0),
        Identity::Mark { family: Family::V4, mark } => format!("mark/{}", mark.0),
        _ => identity_text(identity).replacen(' ', "/", 1),
    }
}

/// The service that is meant among these, if there is one and no second one.
///
/// # Errors
/// A sentence that says which ones it could have been.
pub fn meant<'a, T>(
    wanted: &str,
    services: impl Iterator<Item = &'a T> + Clone,
    name: impl Fn(&'a T) -> &'a str,
    identity: impl Fn(&'a T) -> Identity,
) -> Result<&'a T, String> {
    if let Some(exact) = services.clone().find(|service| name(service) == wanted) {
        return Ok(exact);
    }
    let known = |service| known_by(&identity(service));
    if let Some(exact) = services.clone().find(|service| known(service) == wanted) {
        return Ok(exact);
    }
    let short = |full: &str| full.split_once('/').is_some_and(|(_, end)| end == wanted);
    let mut ends = services.filter(|service| short(name(service)) || short(&known(service)));
    match (ends.next(), ends.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => Err(format!(
            "'{wanted}' could be {} or {}; write the whole name\n",
            name(first),
            name(second)
        )),
        (None, _) => Err(format!(
            "there is no service '{wanted}'; 'director get services' lists their names\n"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use dataplane::ids::Mark;
    use dataplane::wire::{Addr, Protocol};

    use super::*;

    fn mark(number: u32) -> Identity {
        Identity::Mark { family: Family::V4, mark: Mark(NonZeroU32::new(number).unwrap()) }
    }

    fn on(protocol: Protocol, vip_port: u16) -> Identity {
        Identity::Address { protocol, vip: Addr::v4(0xC612_0A50), vip_port }
    }

    #[test]
    fn the_end_of_a_name_is_enough_where_it_is_one_service_s() {
        let all = [
            ("mark/10", mark(10)),
            ("tcp/198.18.10.80:53", on(Protocol::Tcp, 53)),
            ("udp/198.18.10.80:53", on(Protocol::Udp, 53)),
            ("web", on(Protocol::Tcp, 80)),
            ("shop", mark(11)),
        ];
        let meant =
            |wanted: &str| meant(wanted, all.iter(), |one| one.0, |one| one.1).map(|one| one.0);
        assert_eq!(meant("web"), Ok("web"));
        assert_eq!(meant("10"), Ok("mark/10"));
        assert_eq!(meant("udp/198.18.10.80:53"), Ok("udp/198.18.10.80:53"));
        assert_eq!(meant("tcp/198.18.10.80:80"), Ok("web"));
        assert_eq!(meant("198.18.10.80:80"), Ok("web"));
        assert_eq!((meant("11"), meant("mark/11")), (Ok("shop"), Ok("shop")));
        let two = meant("198.18.10.80:53").unwrap_err();
        assert!(two.contains("could be tcp/198.18.10.80:53 or udp/198.18.10.80:53"), "{two}");
        let none = meant("1").unwrap_err();
        assert!(none.contains("there is no service '1'"), "{none}");
    }
}
