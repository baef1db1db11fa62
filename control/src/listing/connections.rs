//! Connections and templates: `ipvsadm -lnc`.

use super::address::endpoint;
use super::row::ConnectionRow;

/// The rows in their given order (IPVS's own order is that of a hash table). With
/// `persistent_conn` (`-lnc --persistent-conn`) what persistence engines found is added.
pub fn connections(rows: &[ConnectionRow], persistent_conn: bool) -> String {
    let mut text = connections_head(persistent_conn);
    for row in rows {
        text += &connection(row, persistent_conn);
    }
    text
}

/// The lines above the rows.
pub fn connections_head(persistent_conn: bool) -> String {
    let mut text = String::from("IPVS connection entries\n");
    text += &format!("pro expire {:<11} {:<18} {:<18} ", "state", "source", "virtual");
    text += &match persistent_conn {
        true => format!("{:<18} {:<16} pe_data\n", "destination", "pe name"),
        false => String::from("destination\n"),
    };
    text
}

/// The line of one row.
pub fn connection(row: &ConnectionRow, persistent_conn: bool) -> String {
    let protocol = match row.protocol {
        Some(protocol) => protocol.to_string(),
        None => "IP".into(),
    };
    let expires = format!("{:02}:{:02}", row.expires_s / 60, row.expires_s % 60);
    let (client, vip) = (endpoint(row.client), endpoint(row.virtual_side));
    let start = format!("{protocol:<3} {expires:<6} {:<11} {client:<18} {vip:<18}", row.state);
    let real = endpoint(row.real);
    match &row.engine {
        Some(engine) if persistent_conn => {
            format!("{start} {real:<16} {:<18} {}\n", engine.name, engine.data)
        }
        _ => format!("{start} {real}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use dataplane::wire::Protocol;

    use super::super::row::{Endpoint, EngineData};
    use super::*;

    fn at(address: &str, port: u16) -> Endpoint {
        Endpoint { address: address.parse::<IpAddr>().unwrap().into(), port }
    }

    fn sip() -> ConnectionRow {
        ConnectionRow {
            protocol: Some(Protocol::Udp),
            expires_s: 59,
            state: "NONE",
            client: at("10.1.0.4", 0),
            virtual_side: at("192.0.2.10", 5060),
            real: at("172.16.0.13", 5060),
            engine: Some(EngineData { name: "sip".into(), data: "def@x".into() }),
            template: true,
        }
    }

    #[test]
    fn what_an_engine_found_is_listed_on_request_only() {
        let plain = ConnectionRow { engine: None, ..sip() };
        assert_eq!(
            connections(&[sip(), plain], true),
            "IPVS connection entries\n\
             pro expire state       source             virtual            destination        pe name          pe_data\n\
             UDP 00:59  NONE        10.1.0.4:0         192.0.2.10:5060    172.16.0.13:5060 sip                def@x\n\
             UDP 00:59  NONE        10.1.0.4:0         192.0.2.10:5060    172.16.0.13:5060\n"
        );
        assert!(!connections(&[sip()], false).contains("sip"));
    }

    #[test]
    fn minutes_may_exceed_an_hour_and_a_hundred() {
        let text = |expires_s| connections(&[ConnectionRow { expires_s, ..sip() }], false);
        assert!(text(0).contains("\nUDP 00:00  NONE "));
        assert!(text(5999).contains("\nUDP 99:59  NONE "));
        assert!(text(31 * 86_400).contains("\nUDP 44640:00 NONE "));
    }
}
