//! Says the same thing only now and then.

use std::collections::HashMap;
use std::hash::Hash;

/// Milliseconds for which the same is not said again.
const QUIET_MS: u64 = 60_000;
/// Different things said within that time; whoever forges addresses cannot fill the log.
const KEYS: usize = 64;

/// What was said lately.
#[derive(Debug)]
pub(super) struct Limit<K> {
    quiet_until: HashMap<K, u64>,
    unsaid: u64,
}

impl<K> Default for Limit<K> {
    fn default() -> Self {
        Self { quiet_until: HashMap::new(), unsaid: 0 }
    }
}

impl<K: Eq + Hash> Limit<K> {
    /// Whether it may be said now; and then, how often nothing was said since the last time.
    pub(super) fn admit(&mut self, key: K, now: u64) -> Option<u64> {
        let quiet = self.quiet_until.get(&key).is_some_and(|until| now < *until);
        if !quiet && self.quiet_until.len() >= KEYS {
            self.quiet_until.retain(|_, until| now < *until);
        }
        if quiet || self.quiet_until.len() >= KEYS {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.quiet_until.insert(key, now.saturating_add(QUIET_MS));
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_the_rest_is_counted() {
        let mut limit = Limit::default();
        assert_eq!(limit.admit("a", 0), Some(0));
        assert_eq!(limit.admit("a", 59_999), None);
        assert_eq!(limit.admit("b", 59_999), Some(1));
        assert_eq!(limit.admit("a", 60_000), Some(0));
    }

    #[test]
    fn a_flood_of_different_things_is_limited_as_well() {
        let mut limit = Limit::default();
        let said = (0..1_000_000).filter(|key| limit.admit(*key, 5).is_some()).count();
        assert_eq!(said, KEYS);
        assert_eq!(limit.quiet_until.len(), KEYS);
        assert_eq!(limit.admit(0, 60_005), Some(1_000_000 - KEYS as u64));
    }
}
