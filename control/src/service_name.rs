//! A service as an operator names one: by its name, or by the end of a name that the service
//! has from what it is known by, such as `10` for `mark/10` and `198.18.10.80:80` for
//! `tcp/198.18.10.80:80`.

/// The service that is meant among these, if there is one and no second one.
///
/// # Errors
/// A sentence that says which ones it could have been.
pub fn meant<'a, T>(
    wanted: &str,
    services: impl Iterator<Item = &'a T> + Clone,
    name: impl Fn(&'a T) -> &'a str,
) -> Result<&'a T, String> {
    if let Some(exact) = services.clone().find(|service| name(service) == wanted) {
        return Ok(exact);
    }
    let short = |full: &str| full.split_once('/').is_some_and(|(_, end)| end == wanted);
    let mut ends = services.filter(|service| short(name(service)));
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
    use super::*;

    #[test]
    fn the_end_of_a_name_is_enough_where_it_is_one_service_s() {
        let all = ["mark/10", "tcp/198.18.10.80:53", "udp/198.18.10.80:53", "web"];
        let meant = |wanted: &str| meant(wanted, all.iter(), |name| *name).copied();
        assert_eq!(meant("web"), Ok("web"));
        assert_eq!(meant("10"), Ok("mark/10"));
        assert_eq!(meant("udp/198.18.10.80:53"), Ok("udp/198.18.10.80:53"));
        let two = meant("198.18.10.80:53").unwrap_err();
        assert!(two.contains("could be tcp/198.18.10.80:53 or udp/198.18.10.80:53"), "{two}");
        let none = meant("1").unwrap_err();
        assert!(none.contains("there is no service '1'"), "{none}");
    }
}
