//! `ports[]`.

use super::form;
use super::{Key, Section, Value};
use crate::config::model::{Port, Route};

pub(in crate::config) static PORT: Section = Section::of::<Port>(&[
    Key::new("name", Value::Text(&form::NAME), "lan0").restart(),
    Key::new("device", Value::Text(&form::DEVICE), "0000:3b:00.0").restart(),
    Key::new("kernel_port", Value::Text(&form::VDEV), "\"net_tap0,iface=dtap0\"")
        .or_from("none")
        .restart(),
    Key::new("cores", CORES, "[1, 2]").or("[1]").restart(),
    Key::new("addresses", Value::list(&Value::Text(&form::NETWORK), 1, 64), "[198.18.10.1/24]"),
    Key::new("gateway", Value::Text(&form::V4), "198.18.10.254").or_from("none"),
    Key::new("gateway6", Value::Text(&form::V6), "\"2001:db8:10::fe\"").or_from("none"),
    Key::new(
        "routes",
        Value::list(&Value::Mapping(&ROUTE), 0, 1_024),
        "[{ to: 198.18.64.0/18, via: 198.18.10.253 }]",
    )
    .or("[]"),
    Key::new("vlan", Value::number(1, 4_094), "10").or_from("untagged"),
    Key::new("mtu", Value::counted(576, 9_000, "bytes"), "9000").or("1500").restart(),
    Key::new("rx_descriptors", DESCRIPTORS, "2048").or("1024").restart(),
    Key::new("tx_descriptors", DESCRIPTORS, "2048").or("1024").restart(),
    Key::new("promiscuous", Value::Switch, "true").or("false").restart(),
    Key::new("require_link", Value::Switch, "true").or("false"),
]);

const DESCRIPTORS: Value = Value::PowerOfTwo { from: 64, to: 16_384 };

static CORE: Value = Value::Either(&[Value::number(0, 1_023), Value::Text(&form::CORES)]);

/// A list, or all of them in one text.
const CORES: Value =
    Value::Either(&[Value::list(&CORE, 1, 64), Value::number(0, 1_023), Value::Text(&form::CORES)]);

pub(in crate::config) static ROUTE: Section = Section::of::<Route>(&[
    Key::new("to", Value::Text(&form::NETWORK), "198.18.64.0/18"),
    Key::new("via", Value::Text(&form::ADDRESS), "198.18.10.253"),
]);
