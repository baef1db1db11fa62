//! Putting another 802.1Q tag on a frame that leaves on another VLAN than it came from.

use crate::port::Frame;
use crate::wire::Vlan;
use crate::wire::ethernet::{TAG_LEN, TYPE_VLAN};

/// Both MAC addresses: what stands before a tag.
const MACS: usize = 12;

/// Makes `vlan` the frame's only tag (none for [`Vlan::UNTAGGED`]). Answers `false`, and
/// leaves the frame as it was, where there is no room.
pub(super) fn retag(frame: &mut impl Frame, vlan: Vlan) -> bool {
    let tagged = frame.bytes().get(MACS..MACS + 2) == Some(&TYPE_VLAN.to_be_bytes());
    match (tagged, vlan.tci()) {
        (true, Some(tci)) => write_tci(frame, tci),
        (true, None) => {
            // From the front, so that the headers' offsets move and the payload does not.
            let len = frame.bytes().len();
            if len < MACS + TAG_LEN {
                return false;
            }
            frame.bytes_mut().copy_within(MACS + TAG_LEN.., MACS);
            frame.set_len(len - TAG_LEN)
        }
        (false, Some(tci)) => {
            if !frame.push_front(TAG_LEN) {
                return false;
            }
            let bytes = frame.bytes_mut();
            bytes.copy_within(TAG_LEN..TAG_LEN + MACS, 0);
            if let Some(place) = bytes.get_mut(MACS..MACS + 2) {
                place.copy_from_slice(&TYPE_VLAN.to_be_bytes());
            }
            write_tci(frame, tci)
        }
        (false, None) => true,
    }
}

fn write_tci(frame: &mut impl Frame, tci: u16) -> bool {
    match frame.bytes_mut().get_mut(MACS + 2..MACS + 4) {
        Some(place) => {
            place.copy_from_slice(&tci.to_be_bytes());
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::MemoryFrame;

    fn frame(tag: Option<u16>) -> MemoryFrame {
        let mut bytes: Vec<u8> = (1..=12).collect();
        if let Some(tci) = tag {
            bytes.extend(TYPE_VLAN.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        bytes.extend([8, 0, 0x45, 1, 2, 3]);
        MemoryFrame::new(&bytes)
    }

    #[test]
    fn a_tag_is_put_on_changed_and_taken_off() {
        for from in [None, Some(7)] {
            for to in [None, Some(7), Some(9)] {
                let mut changed = frame(from);
                assert!(retag(&mut changed, to.map_or(Vlan::UNTAGGED, Vlan::tagged)));
                assert_eq!(changed.bytes(), frame(to).bytes(), "{from:?} to {to:?}");
            }
        }
    }
}
