//! Numbers with their nouns: `1 client`, `2 clients`.

/// A number and its noun, in the plural where it is not one.
pub fn counted(number: impl Into<Number>, noun: &str) -> String {
    match number.into() {
        Number(1) => format!("1 {noun}"),
        Number(number) => format!("{number} {noun}s"),
    }
}

/// The word that goes with a number: `is` or `are`, `goes` or `go`.
pub fn agreeing<'a>(number: impl Into<Number>, one: &'a str, many: &'a str) -> &'a str {
    if number.into() == Number(1) { one } else { many }
}

/// A number of things, however it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u64);

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<u16> for Number {
    fn from(number: u16) -> Self {
        Self(number.into())
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self(number as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural_and_none_is() {
        assert_eq!(counted(1_usize, "real server"), "1 real server");
        assert_eq!(counted(0_u64, "client"), "0 clients");
        assert_eq!(counted(2_u32, "port"), "2 ports");
        assert_eq!([0_u64, 1, 2].map(|n| agreeing(n, "goes", "go")), ["go", "goes", "go"]);
    }
}
