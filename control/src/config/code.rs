//! The stable codes of configuration problems.

use std::fmt;

/// What kind of problem it is. A code keeps its number and its meaning for ever, so that
/// scripts and notes can refer to it; the sentence of a [`Problem`](super::Problem) may
/// be reworded.
///
/// D00xx: the file; D01xx: keys and values; D02xx: ports and memory; D03xx: services;
/// D04xx: real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Code {
    /// The file cannot be read.
    Unreadable = 1,
    /// The file is larger than 8 MiB.
    TooLarge = 2,
    /// The file is not UTF-8.
    NotUtf8 = 3,
    /// The file has control characters.
    ControlCharacter = 4,
    /// Lists and mappings are nested more than 64 deep.
    TooDeep = 5,
    /// The file has more than 1,000,000 values, or a mapping more than 1,000 keys.
    TooManyValues = 6,
    /// YAML anchors and aliases are not accepted.
    Alias = 7,
    /// The file is not well-formed YAML.
    Syntax = 8,
    /// The file has more than one YAML document.
    SeveralDocuments = 9,
    /// YAML tags are not accepted.
    Tag = 10,
    /// A key is a list or a mapping instead of a word.
    ComplexKey = 11,
    /// No such key here.
    UnknownKey = 101,
    /// The same key twice in one mapping.
    DuplicateKey = 102,
    /// A compulsory key is missing.
    MissingKey = 103,
    /// A list, mapping or value where another of the three is expected.
    WrongKind = 104,
    /// A key without a value.
    MissingValue = 105,
    /// A value that cannot be read as what it should be.
    BadValue = 106,
    /// A number, length or time out of its range.
    OutOfRange = 107,
    /// A word that is not one of the possible ones.
    UnknownWord = 108,
    /// Two keys that exclude each other.
    Conflict = 109,
    /// A key that has no effect beside the others.
    Pointless = 110,
    /// An address that no host can have.
    NotUnicast = 111,
    /// Two ports, services or real servers with one name.
    DuplicateName = 112,
    /// One device in two places.
    DuplicateDevice = 201,
    /// One core twice on a port.
    DuplicateCore = 202,
    /// The main core polls a port.
    MainCorePolls = 203,
    /// The director's own address twice.
    DuplicateAddress = 204,
    /// One network on two ports.
    NetworkOverlap = 205,
    /// A next hop that is not in a network of its port.
    NextHopNotConnected = 206,
    /// A next hop that is the director itself.
    NextHopIsDirector = 207,
    /// Two routes or two gateways for one destination.
    DuplicateRoute = 208,
    /// More descriptors than packet buffers.
    TooFewMbufs = 209,
    /// More packet buffers than memory.
    TooLittleMemory = 210,
    /// A network or route that has host bits, or the like.
    HostBits = 211,
    /// `run_as` with a device that needs root until the end.
    DeviceNeedsRoot = 212,
    /// Two selectors of one rank that fit the same packet.
    SelectorOverlap = 301,
    /// One mark in two services of a family.
    DuplicateMark = 302,
    /// IPv4 and IPv6 in one service.
    MixedFamilies = 303,
    /// Several selectors without a mark.
    NeedsMark = 304,
    /// All ports without persistence.
    NeedsPersistence = 305,
    /// `tracking: client` without persistence.
    ClientTrackingNeedsPersistence = 306,
    /// `tracking: client` with real servers that need connections.
    ClientTrackingForwarding = 307,
    /// `one_packet` without UDP, or with `tracking: client`.
    OnePacket = 308,
    /// All ports of the director's own address.
    VipIsDirector = 309,
    /// A VIP that is the network or broadcast address of a port's network.
    VipOfNetwork = 310,
    /// A persistence engine beside another protocol than UDP, or with `tracking: client`.
    Engine = 311,
    /// A pin of a client that the service cannot have, of one twice, or to a real server
    /// that it has not.
    Pin = 312,
    /// One real server twice in a service.
    DuplicateRealServer = 401,
    /// A real server of the other family.
    RealServerFamily = 402,
    /// Direct routing and tunnels cannot change the port.
    RealPortFixed = 403,
    /// The lower threshold is above the upper one.
    Thresholds = 404,
    /// A real server that is the VIP itself.
    RealServerIsVip = 405,
    /// A real server that is the director itself.
    RealServerIsDirector = 406,
    /// Direct routing to a network that is not connected.
    NotConnected = 407,
    /// A real server that no network, route or gateway leads to.
    Unreachable = 408,
    /// `forwarding: local` without a kernel-facing port.
    LocalNeedsKernelPort = 409,
    /// A real server that is the network or broadcast address of a port's network.
    RealServerOfNetwork = 410,
}

impl Code {
    /// Every code, in the order of their numbers.
    pub const ALL: &[Code] = &[
        Code::Unreadable,
        Code::TooLarge,
        Code::NotUtf8,
        Code::ControlCharacter,
        Code::TooDeep,
        Code::TooManyValues,
        Code::Alias,
        Code::Syntax,
        Code::SeveralDocuments,
        Code::Tag,
        Code::ComplexKey,
        Code::UnknownKey,
        Code::DuplicateKey,
        Code::MissingKey,
        Code::WrongKind,
        Code::MissingValue,
        Code::BadValue,
        Code::OutOfRange,
        Code::UnknownWord,
        Code::Conflict,
        Code::Pointless,
        Code::NotUnicast,
        Code::DuplicateName,
        Code::DuplicateDevice,
        Code::DuplicateCore,
        Code::MainCorePolls,
        Code::DuplicateAddress,
        Code::NetworkOverlap,
        Code::NextHopNotConnected,
        Code::NextHopIsDirector,
        Code::DuplicateRoute,
        Code::TooFewMbufs,
        Code::TooLittleMemory,
        Code::HostBits,
        Code::DeviceNeedsRoot,
        Code::SelectorOverlap,
        Code::DuplicateMark,
        Code::MixedFamilies,
        Code::NeedsMark,
        Code::NeedsPersistence,
        Code::ClientTrackingNeedsPersistence,
        Code::ClientTrackingForwarding,
        Code::OnePacket,
        Code::VipIsDirector,
        Code::VipOfNetwork,
        Code::Engine,
        Code::Pin,
        Code::DuplicateRealServer,
        Code::RealServerFamily,
        Code::RealPortFixed,
        Code::Thresholds,
        Code::RealServerIsVip,
        Code::RealServerIsDirector,
        Code::NotConnected,
        Code::Unreachable,
        Code::LocalNeedsKernelPort,
        Code::RealServerOfNetwork,
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "D{:04}", *self as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_codes_is_sorted_and_without_gaps_in_it() {
        assert!(Code::ALL.is_sorted_by(|a, b| a < b));
        assert_eq!(Code::ALL.first(), Some(&Code::Unreadable));
        assert_eq!(Code::ALL.last(), Some(&Code::RealServerOfNetwork));
        assert_eq!(Code::UnknownKey.to_string(), "D0101");
    }
}
