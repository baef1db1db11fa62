//! Big-endian fields of a header, read and written by their offset.

/// The 16-bit field at `at`; `None` past the end.
#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// The 32-bit field at `at`; `None` past the end.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// The `N` bytes at `at`; `None` past the end.
#[inline]
pub fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// Writes `value` at `at`. Answers `None`, and changes nothing, where it would pass the end.
#[inline]
pub fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_big_endian_and_stay_inside() {
        let mut bytes = [1, 2, 3, 4, 5];
        assert_eq!(u16_at(&bytes, 3), Some(0x0405));
        assert_eq!(u16_at(&bytes, 4), None);
        assert_eq!(u32_at(&bytes, 1), Some(0x0203_0405));
        assert_eq!(u32_at(&bytes, usize::MAX), None);
        assert_eq!(bytes_at::<2>(&bytes, 0), Some(&[1, 2]));
        assert_eq!(put(&mut bytes, 4, [9, 9]), None);
        assert_eq!(put(&mut bytes, 3, [9, 9]), Some(()));
        assert_eq!(bytes, [1, 2, 3, 9, 9]);
    }
}
