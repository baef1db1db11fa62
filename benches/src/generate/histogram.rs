//! Latencies, counted in classes of at most 3 % each.

/// Classes in each power of two.
const STEPS: usize = 32;
/// Powers of two beyond the first, exact, `STEPS` nanoseconds: up to a minute and more.
const POWERS: usize = 32;

/// See the module.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
    min: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * POWERS], total: 0, sum: 0, max: 0, min: u64::MAX }
    }
}

impl Histogram {
    /// Counts a value in nanoseconds.
    #[inline]
    pub fn add(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(class(ns)) {
            *count += 1;
        }
        self.total += 1;
        self.sum += u128::from(ns);
        self.max = self.max.max(ns);
        self.min = self.min.min(ns);
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The largest; `None` without any.
    pub fn max(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max)
    }

    /// The smallest; `None` without any.
    pub fn min(&self) -> Option<u64> {
        (self.total > 0).then_some(self.min)
    }

    /// The mean; `None` without any.
    pub fn mean(&self) -> Option<u64> {
        let total = u128::from(self.total);
        (total > 0).then(|| (self.sum / total) as u64)
    }

    /// The smallest value that this share (0 to 1) of all values does not exceed, to the
    /// class's upper end and never above the maximum; `None` without any.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = ((share.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(upper(class).min(self.max));
            }
        }
        None
    }
}

#[inline]
fn class(ns: u64) -> usize {
    let steps = STEPS as u64;
    if ns < steps {
        return ns as usize;
    }
    let power = (ns / steps).ilog2() as usize;
    let class = (power + 1) * STEPS + ((ns >> power) as usize - STEPS);
    class.min(STEPS * POWERS - 1)
}

/// The largest value of a class.
fn upper(class: usize) -> u64 {
    let (power, step) = (class / STEPS, (class % STEPS) as u64);
    if power == 0 {
        return step;
    }
    let shift = power - 1;
    ((STEPS as u64 + step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_class() {
        let mut last = 0;
        for ns in (0..5_000).chain((5_000..40_000_000_000).step_by(999_999_937)) {
            let class = class(ns);
            assert!(class >= last && upper(class) >= ns, "{ns} in class {class}");
            assert!(upper(class) as f64 <= ns as f64 * 1.0313 + 1.0, "{ns}: {}", upper(class));
            last = class;
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for ns in 1..=1000 {
            histogram.add(ns * 1000);
        }
        for (share, ns) in [(0.5, 500_000), (0.99, 990_000), (0.999, 999_000), (1.0, 1_000_000)] {
            let found = histogram.quantile(share).unwrap();
            assert!((ns..ns + ns / 30).contains(&found) || found == ns, "{share}: {found}");
        }
        assert_eq!((histogram.max(), histogram.min()), (Some(1_000_000), Some(1000)));
        assert_eq!(histogram.mean(), Some(500_500));
        assert_eq!(histogram.total(), 1000);
    }
}
