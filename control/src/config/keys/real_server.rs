//! `services[].real_servers[]`.

use super::form;
use super::{Key, Rule, Section, Value};
use crate::config::model::{Forwarding, GueChecksum, RealServer, State, Tunnel};

const CONNECTIONS: Value = Value::number(0, i32::MAX as u64);

pub(in crate::config) static REAL_SERVER: Section = Section::of::<RealServer>(&[
    Key::new("name", Value::Text(&form::NAME), "rs1").or_from("none"),
    Key::new("address", Value::Text(&form::ADDRESS), "198.18.10.11"),
    Key::new("real_port", Value::number(0, 65_535), "8080").or_from("the service's port"),
    Key::new("weight", Value::number(0, 65_535), "5").or("1"),
    Key::new("state", Value::words::<State>(), "drain").or("up"),
    Key::new("forwarding", Value::words::<Forwarding>(), "masq").or("route"),
    Key::new("tunnel", Value::Mapping(&TUNNEL), "{ type: gue, port: 6080 }").or_from("ipip").about(
        "The outer headers under `forwarding: tunnel`: ipvsadm's `--tun-type` and its companions.",
    ),
    Key::new("mac", Value::Text(&form::MAC), "02:00:00:00:00:11").or_from("asked for"),
    Key::new("upper_threshold", CONNECTIONS, "1000").or("0").about(
        "ipvsadm's `-x`: from this many connections on the real server gets no new ones; 0: no limit.",
    ),
    Key::new("lower_threshold", CONNECTIONS, "800").or("0").about(
        "ipvsadm's `-y`: below this many connections it gets them again; 0 stands for three \
         quarters of the upper one. Not above the upper one.",
    ),
])
.rules(&[
    Rule::With { key: "tunnel", when: "forwarding", is: &["tunnel"], compulsory: false },
    Rule::With { key: "mac", when: "forwarding", is: &["route"], compulsory: false },
]);

pub(in crate::config) static TUNNEL: Section = Section::of::<Tunnel>(&[
    Key::new("type", Value::words::<Tunnel>(), "gre").or("ipip").about("The kind of tunnel."),
    Key::new("port", Value::number(1, 65_535), "6080")
        .or_from("none")
        .about("The outer destination port of `gue`, which needs one: `--tun-port`."),
    Key::new("checksum", Value::Either(&[Value::words::<GueChecksum>(), Value::Switch]), "full")
        .or_from("`none`, `false`")
        .about("The outer checksum: for `gre` a switch (`--tun-csum`), for `gue` a word."),
])
.rules(&[
    Rule::With { key: "port", when: "type", is: &["gue"], compulsory: true },
    Rule::With { key: "checksum", when: "type", is: &["gre", "gue"], compulsory: false },
]);
