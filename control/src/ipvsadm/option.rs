//! Every option and command word: its spellings, its argument and its name in messages.

use super::Usage;

/// Whether a word behind an option belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    None,
    Required,
    /// Taken unless it begins with a dash.
    Optional,
}

/// What can be done to an option by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Illegal,
    Allowed,
    Required,
    /// Allowed, but only one of all options of this kind.
    Alternative,
}

/// What the first option has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
    Help,
    Version,
}

impl Verb {
    /// The name in messages.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::Set => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
            Self::Help => "help",
            Self::Version => "version",
        }
    }
}

macro_rules! names {
    ($($name:ident, $word:literal;)*) => {
        /// Options, in the order in which ipvsadm checks them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Name { $($name,)* }

        impl Name {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in messages.
            pub(super) const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

names! {
    Numeric, "numeric";
    Connection, "connection";
    Service, "service-address";
    Scheduler, "scheduler";
    Persistent, "persistent";
    Netmask, "netmask";
    Server, "real-server";
    Forward, "forwarding-method";
    Weight, "weight";
    Upper, "u-threshold";
    Lower, "l-threshold";
    Interface, "mcast-interface";
    Timeout, "timeout";
    Daemon, "daemon";
    Stats, "stats";
    Rate, "rate";
    Thresholds, "thresholds";
    PersistentConn, "persistent-conn";
    NoSort, "nosort";
    SyncId, "syncid";
    Exact, "exact";
    Ops, "ops";
    Engine, "pe";
    Flags, "sched-flags";
    Group, "mcast-group";
    GroupPort, "mcast-port";
    Ttl, "mcast-ttl";
    MaxLen, "sync-maxlen";
    TunnelInfo, "tun-info";
    TunnelType, "tun-type";
    TunnelPort, "tun-port";
    NoChecksum, "tun-nocsum";
    Checksum, "tun-csum";
    RemoteChecksum, "tun-remcsum";
}

/// What an option on the command line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Verb(Verb),
    Tcp,
    Udp,
    Sctp,
    Mark,
    Ipv6,
    Gatewaying,
    Masquerading,
    Ipip,
    Sort,
    Plain(Name),
}

pub(super) struct Spelling {
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    pub(super) argument: Argument,
    pub(super) meaning: Meaning,
}

const fn spelled(
    short: char,
    long: &'static str,
    argument: Argument,
    meaning: Meaning,
) -> Spelling {
    let short = if short == ' ' { None } else { Some(short) };
    Spelling { short, long, argument, meaning }
}

use Argument::{None as Bare, Optional, Required};
use Meaning::{Plain, Verb as V};

pub(super) const SPELLINGS: &[Spelling] = &[
    spelled('A', "add-service", Bare, V(Verb::AddService)),
    spelled('E', "edit-service", Bare, V(Verb::EditService)),
    spelled('D', "delete-service", Bare, V(Verb::DeleteService)),
    spelled('C', "clear", Bare, V(Verb::Flush)),
    spelled('L', "list", Bare, V(Verb::List)),
    spelled('l', "list", Bare, V(Verb::List)),
    spelled('Z', "zero", Bare, V(Verb::Zero)),
    spelled('a', "add-server", Bare, V(Verb::AddServer)),
    spelled('e', "edit-server", Bare, V(Verb::EditServer)),
    spelled('d', "delete-server", Bare, V(Verb::DeleteServer)),
    spelled('R', "restore", Bare, V(Verb::Restore)),
    spelled('S', "save", Bare, V(Verb::Save)),
    spelled('h', "help", Bare, V(Verb::Help)),
    spelled('v', "version", Bare, V(Verb::Version)),
    spelled(' ', "set", Bare, V(Verb::Set)),
    spelled(' ', "start-daemon", Required, V(Verb::StartDaemon)),
    spelled(' ', "stop-daemon", Required, V(Verb::StopDaemon)),
    spelled('t', "tcp-service", Required, Meaning::Tcp),
    spelled('u', "udp-service", Required, Meaning::Udp),
    spelled(' ', "sctp-service", Required, Meaning::Sctp),
    spelled('f', "fwmark-service", Required, Meaning::Mark),
    spelled('6', "ipv6", Bare, Meaning::Ipv6),
    spelled('s', "scheduler", Required, Plain(Name::Scheduler)),
    spelled('p', "persistent", Optional, Plain(Name::Persistent)),
    spelled('M', "netmask", Required, Plain(Name::Netmask)),
    spelled(' ', "pe", Required, Plain(Name::Engine)),
    spelled('o', "ops", Bare, Plain(Name::Ops)),
    spelled('b', "sched-flags", Required, Plain(Name::Flags)),
    spelled('r', "real-server", Required, Plain(Name::Server)),
    spelled('g', "gatewaying", Bare, Meaning::Gatewaying),
    spelled('m', "masquerading", Bare, Meaning::Masquerading),
    spelled('i', "ipip", Bare, Meaning::Ipip),
    spelled('w', "weight", Required, Plain(Name::Weight)),
    spelled('x', "u-threshold", Required, Plain(Name::Upper)),
    spelled('y', "l-threshold", Required, Plain(Name::Lower)),
    spelled(' ', "tun-type", Required, Plain(Name::TunnelType)),
    spelled(' ', "tun-port", Required, Plain(Name::TunnelPort)),
    spelled(' ', "tun-nocsum", Bare, Plain(Name::NoChecksum)),
    spelled(' ', "tun-csum", Bare, Plain(Name::Checksum)),
    spelled(' ', "tun-remcsum", Bare, Plain(Name::RemoteChecksum)),
    spelled('n', "numeric", Bare, Plain(Name::Numeric)),
    spelled('c', "connection", Bare, Plain(Name::Connection)),
    spelled('X', "exact", Bare, Plain(Name::Exact)),
    spelled(' ', "timeout", Bare, Plain(Name::Timeout)),
    spelled(' ', "daemon", Bare, Plain(Name::Daemon)),
    spelled(' ', "stats", Bare, Plain(Name::Stats)),
    spelled(' ', "rate", Bare, Plain(Name::Rate)),
    spelled(' ', "thresholds", Bare, Plain(Name::Thresholds)),
    spelled(' ', "persistent-conn", Bare, Plain(Name::PersistentConn)),
    spelled(' ', "tun-info", Bare, Plain(Name::TunnelInfo)),
    spelled(' ', "nosort", Bare, Plain(Name::NoSort)),
    spelled(' ', "sort", Bare, Meaning::Sort),
    spelled(' ', "mcast-interface", Required, Plain(Name::Interface)),
    spelled(' ', "syncid", Required, Plain(Name::SyncId)),
    spelled(' ', "mcast-group", Required, Plain(Name::Group)),
    spelled(' ', "mcast-port", Required, Plain(Name::GroupPort)),
    spelled(' ', "mcast-ttl", Required, Plain(Name::Ttl)),
    spelled(' ', "sync-maxlen", Required, Plain(Name::MaxLen)),
];

impl Verb {
    /// What this command makes of an option.
    fn rule(self, name: Name) -> Rule {
        let service = matches!(self, Self::AddService | Self::EditService);
        let server = matches!(self, Self::AddServer | Self::EditServer);
        let allowed = |yes: bool| if yes { Rule::Allowed } else { Rule::Illegal };
        match name {
            Name::Service => match self {
                Self::AddService | Self::EditService | Self::DeleteService => Rule::Required,
                Self::AddServer | Self::EditServer | Self::DeleteServer => Rule::Required,
                Self::List => Rule::Alternative,
                Self::Zero => Rule::Allowed,
                _ => Rule::Illegal,
            },
            Name::Server if server || self == Self::DeleteServer => Rule::Required,
            Name::Server => Rule::Illegal,
            Name::Connection | Name::Timeout | Name::Daemon => match self {
                Self::List => Rule::Alternative,
                _ => Rule::Illegal,
            },
            Name::Numeric => allowed(matches!(self, Self::List | Self::Save)),
            Name::Stats | Name::Rate | Name::Thresholds | Name::PersistentConn => {
                allowed(self == Self::List)
            }
            Name::NoSort | Name::Exact | Name::TunnelInfo => allowed(self == Self::List),
            Name::Scheduler | Name::Persistent | Name::Netmask => allowed(service),
            Name::Ops | Name::Engine | Name::Flags => allowed(service),
            Name::Forward | Name::Weight | Name::Upper | Name::Lower => allowed(server),
            Name::TunnelType | Name::TunnelPort => allowed(server),
            Name::NoChecksum | Name::Checksum | Name::RemoteChecksum => allowed(server),
            Name::SyncId => allowed(matches!(self, Self::StartDaemon | Self::StopDaemon)),
            Name::Interface | Name::Group | Name::GroupPort | Name::Ttl | Name::MaxLen => {
                allowed(self == Self::StartDaemon)
            }
        }
    }

    /// Whether these options go with the command and with each other.
    pub(super) fn check(self, given: impl Fn(Name) -> bool) -> Result<(), Usage> {
        let mut alternative: Option<Name> = None;
        for name in Name::ALL.iter().copied() {
            match (self.rule(name), given(name)) {
                (Rule::Required, false) => {
                    return Err(Usage::new(format!(
                        "You need to supply the '{}' option for the '{}' command",
                        name.word(),
                        self.word()
                    )));
                }
                (Rule::Illegal, true) => {
                    return Err(Usage::new(format!(
                        "Illegal '{}' option with the '{}' command",
                        name.word(),
                        self.word()
                    )));
                }
                (Rule::Alternative, true) => match alternative.replace(name) {
                    None => {}
                    Some(other) => {
                        return Err(Usage::new(format!(
                            "The option '{}' conflicts with the '{}' option in the '{}' command",
                            name.word(),
                            other.word(),
                            self.word()
                        )));
                    }
                },
                _ => {}
            }
        }
        Ok(())
    }
}
