//! Forms of text: addresses, names, devices.

/// A form of text.
#[derive(Debug)]
pub struct Form {
    /// One word or two, for the column of types.
    pub name: &'static str,
    /// The same for several.
    pub plural: &'static str,
    /// How it is written.
    pub about: &'static str,
    /// A regular expression (as ECMA 262 and Rust have them alike) that every such text
    /// fits; some that fit it are refused all the same.
    pub pattern: &'static str,
    /// What else YAML may see where this text stands, in JSON Schema's words.
    pub also: &'static [&'static str],
    /// JSON Schema's names for it, if it has one.
    pub format: &'static [&'static str],
}

const PLAIN: Form = Form { name: "", plural: "", about: "", pattern: "", also: &[], format: &[] };

/// A name of up to 32 characters.
pub(super) static NAME: Form = Form {
    name: "name",
    plural: "names",
    about: "letters, digits, `_`, `-` and `.`, at most 32 characters",
    pattern: "^[A-Za-z0-9_.-]{1,32}$",
    also: &["number", "boolean"],
    ..PLAIN
};

/// A service's name.
pub(super) static SERVICE_NAME: Form = Form {
    name: "name of a service",
    plural: "names of services",
    about: "letters, digits and `_ - . : / [ ]`, at most 64 characters",
    pattern: "^[A-Za-z0-9_.:/\\[\\]-]{1,64}$",
    also: &["number", "boolean"],
    ..PLAIN
};

/// An address of either family.
pub(super) static ADDRESS: Form = Form {
    name: "address",
    plural: "addresses",
    about: "IPv4 or IPv6, without port or prefix length: `198.18.255.1` or `\"2001:db8::1\"`",
    format: &["ipv4", "ipv6"],
    ..PLAIN
};

/// An IPv4 address.
pub(super) static V4: Form = Form {
    name: "IPv4 address",
    plural: "IPv4 addresses",
    about: "such as `198.18.10.254`",
    format: &["ipv4"],
    ..PLAIN
};

/// An IPv6 address.
pub(super) static V6: Form = Form {
    name: "IPv6 address",
    plural: "IPv6 addresses",
    about: "such as `2001:db8:10::fe`",
    format: &["ipv6"],
    ..PLAIN
};

/// An address with a prefix length.
pub(super) static NETWORK: Form = Form {
    name: "network",
    plural: "networks",
    about: "an address with a prefix length or netmask: `198.18.10.1/24`",
    pattern: "^[0-9A-Fa-f:.]+/([0-9]{1,3}|[0-9.]{7,15})$",
    ..PLAIN
};

/// An IPv4 netmask.
pub(super) static NETMASK: Form = Form {
    name: "IPv4 netmask",
    plural: "IPv4 netmasks",
    about: "such as `255.255.255.0`",
    format: &["ipv4"],
    ..PLAIN
};

/// A MAC address.
pub(super) static MAC: Form = Form {
    name: "MAC address",
    plural: "MAC addresses",
    about: "of one station: six bytes in hex, `02:00:00:00:00:11`",
    pattern: "^[0-9A-Fa-f]{1,2}([:-][0-9A-Fa-f]{1,2}){5}$",
    ..PLAIN
};

/// A PCI address or a vdev.
pub(super) static DEVICE: Form = Form {
    name: "DPDK device",
    plural: "DPDK devices",
    about: "a PCI address, `0000:3b:00.0`, or a vdev with its arguments, \
            `net_af_packet0,iface=eth0`",
    pattern: "^(([0-9A-Fa-f]{1,4}:)?[0-9A-Fa-f]{1,2}:[01]?[0-9A-Fa-f]\\.[0-7]\
              |(net_|virtio_user|eth_|auxiliary:|dpni\\.)\\S*)$",
    ..PLAIN
};

/// A vdev.
pub(super) static VDEV: Form = Form {
    name: "DPDK vdev",
    plural: "DPDK vdevs",
    about: "a virtual device with its arguments, such as `net_tap0,iface=dtap0`",
    pattern: "^(net_|virtio_user|eth_|auxiliary:|dpni\\.)\\S*$",
    ..PLAIN
};

/// CPUs in one text.
pub(super) static CORES: Form = Form {
    name: "`1-3,7`",
    plural: "CPUs",
    about: "CPUs as Linux lists them, 0 to 1023: `1`, `1-3` or `1-3,7`",
    pattern: "^ *[0-9]{1,4} *(- *[0-9]{1,4} *)?(, *[0-9]{1,4} *(- *[0-9]{1,4} *)?)*$",
    ..PLAIN
};

/// A range of ports.
pub(super) static PORT_RANGE: Form = Form {
    name: "`FIRST-LAST`",
    plural: "ranges of ports",
    about: "a range of ports, both ends included: `8000-8010`",
    pattern: "^[1-9][0-9]{0,4} *- *[1-9][0-9]{0,4}$",
    ..PLAIN
};

/// An address and port to listen on.
pub(super) static LISTENER: Form = Form {
    name: "address with port",
    plural: "addresses with ports",
    about: "`127.0.0.1:9690` or `\"[::1]:9690\"`",
    pattern: "^([0-9.]{7,15}|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$",
    ..PLAIN
};

/// A user or group of the machine, or its number.
pub(super) static PEER: Form = Form {
    name: "user or group",
    plural: "users or groups",
    about: "a name or a number, at most 32 characters",
    pattern: "^[A-Za-z0-9_.$][A-Za-z0-9_.$-]{0,31}$",
    also: &["integer", "number", "boolean"],
    ..PLAIN
};

/// The path of a socket.
pub(super) static SOCKET: Form = Form {
    name: "absolute path",
    plural: "absolute paths",
    about: "at most 107 bytes, which is all that fits into the kernel's `sun_path`",
    pattern: "^/(.{0,105}[^/])?$",
    ..PLAIN
};

/// The name of a user or group.
pub(super) static ACCOUNT: Form = Form {
    name: "name of an account",
    plural: "names of accounts",
    about: "small letters, digits, `_` and `-`, at most 32 characters, a letter first",
    pattern: "^[a-z_][a-z0-9_-]{0,31}$",
    also: &["boolean"],
    ..PLAIN
};
