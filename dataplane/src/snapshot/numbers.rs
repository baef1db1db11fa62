//! Real servers by their numbers within a service, as the client table keeps them.

use std::ops::Range;
use std::sync::Arc;

use crate::ids::{RealId, ServiceId};
use crate::table::ServiceReal;

/// By service: the real server of each number. Every (service, number) has a place of its own
/// among those of all services, so that what cores keep of it can stand densely.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Vec<(u32, Arc<[Option<RealId>]>)>);

impl Numbers {
    /// From each service's list, in the order of their ids.
    pub fn new(lists: impl Iterator<Item = Arc<[Option<RealId>]>>) -> Self {
        let mut next = 0u32;
        let placed = |list: Arc<[Option<RealId>]>| {
            let first = next;
            next = next.wrapping_add(list.len() as u32);
            (first, list)
        };
        Self(lists.map(placed).collect())
    }

    /// The real server of a service's number.
    #[inline]
    pub fn real(&self, service: ServiceId, number: ServiceReal) -> Option<RealId> {
        let (_, list) = self.0.get(service.0 as usize)?;
        *list.get(usize::from(number.number()))?
    }

    /// The places of a service's numbers, from number 0 on.
    pub fn places(&self, service: ServiceId) -> Option<Range<u32>> {
        let (first, list) = self.0.get(service.0 as usize)?;
        Some(*first..first.checked_add(list.len() as u32)?)
    }

    /// The real server of a place.
    pub fn at_place(&self, place: u32) -> Option<RealId> {
        let after = self.0.partition_point(|(first, _)| *first <= place);
        let (first, list) = self.0.get(after.checked_sub(1)?)?;
        *list.get((place - first) as usize)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_every_service_has_its_own_place() {
        let lists = [vec![None, Some(RealId(7))], vec![], vec![None, None, Some(RealId(8))]];
        let numbers = Numbers::new(lists.into_iter().map(Arc::from));
        let number = |number| ServiceReal::new(number).unwrap();
        assert_eq!(numbers.real(ServiceId(0), number(1)), Some(RealId(7)));
        assert_eq!(numbers.real(ServiceId(0), number(2)), None);
        assert_eq!(numbers.real(ServiceId(2), number(2)), Some(RealId(8)));
        assert_eq!(numbers.real(ServiceId(3), number(1)), None);
        let places = [0, 1, 2, 3].map(|service| numbers.places(ServiceId(service)));
        assert_eq!(places, [Some(0..2), Some(2..2), Some(2..5), None]);
        let reals = [0, 1, 2, 3, 4, 5].map(|place| numbers.at_place(place));
        assert_eq!(reals, [None, Some(RealId(7)), None, None, Some(RealId(8)), None]);
    }
}
