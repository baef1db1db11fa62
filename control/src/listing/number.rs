//! Counters in columns.

const TEN: u64 = 10;

/// Below which number a counter is divided by what, and the letter that says so.
const STEPS: [(u64, u64, char); 3] =
    [(TEN.pow(9), TEN.pow(3), 'K'), (TEN.pow(11), TEN.pow(6), 'M'), (TEN.pow(14), TEN.pow(9), 'G')];

/// A counter in nine columns: as it is up to 99,999,999, then in whole thousands, millions,
/// thousand millions or million millions. With `exact` all digits, and wider if it must be.
pub(super) fn column(value: u64, exact: bool) -> String {
    if exact {
        let digits = value.to_string();
        let width = 9.max(digits.len() + 1);
        return format!("{digits:>width$}");
    }
    if value < TEN.pow(8) {
        return format!("{value:>9}");
    }
    let step = STEPS.into_iter().find(|(limit, ..)| value < *limit);
    let (unit, letter) = step.map_or((TEN.pow(12), 'T'), |(_, unit, letter)| (unit, letter));
    format!("{:>8}{letter}", value / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_cut_where_ipvsadm_cuts_them() {
        for (value, short, exact) in [
            (0, "        0", "        0"),
            (99_999_999, " 99999999", " 99999999"),
            (100_000_000, "  100000K", " 100000000"),
            (999_999_999, "  999999K", " 999999999"),
            (1_000_000_000, "    1000M", " 1000000000"),
            (99_999_999_999, "   99999M", " 99999999999"),
            (100_000_000_000, "     100G", " 100000000000"),
            (99_999_999_999_999, "   99999G", " 99999999999999"),
            (100_000_000_000_000, "     100T", " 100000000000000"),
            (u64::MAX, "18446744T", " 18446744073709551615"),
        ] {
            assert_eq!(column(value, false), short);
            assert_eq!(column(value, true), exact);
        }
    }
}
