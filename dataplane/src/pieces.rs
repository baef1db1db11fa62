//! A growing array that readers never wait for: pieces are added, never moved.

use std::sync::OnceLock;

/// Elements in one piece.
const PIECE: usize = 1024;

/// Up to a fixed number of elements, allocated a piece at a time.
#[derive(Debug)]
pub(crate) struct Pieces<T>(Box<[OnceLock<Box<[T; PIECE]>>]>);

impl<T: Default> Pieces<T> {
    /// Room for `limit` elements, none of them allocated yet.
    pub(crate) fn new(limit: usize) -> Self {
        Self((0..limit.div_ceil(PIECE)).map(|_| OnceLock::new()).collect())
    }

    /// Allocates the piece that holds this place.
    pub(crate) fn reserve(&self, place: usize) {
        if let Some(piece) = self.0.get(place / PIECE) {
            piece.get_or_init(|| Box::new(std::array::from_fn(|_| T::default())));
        }
    }

    /// The element, if its piece was reserved.
    #[inline(always)]
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place / PIECE)?.get()?.get(place % PIECE)
    }
}

/// A look at many elements one after the other, mostly of one piece.
pub(crate) struct Shelf<'a, T> {
    pieces: &'a Pieces<T>,
    /// The place of the piece's first element.
    first: usize,
    piece: &'a [T; PIECE],
}

impl<T> Pieces<T> {
    /// A look at the elements; `None` while there are none.
    #[inline(always)]
    pub(crate) fn shelf(&self) -> Option<Shelf<'_, T>> {
        Some(Shelf { pieces: self, first: 0, piece: self.piece(0)? })
    }

    #[inline(always)]
    fn piece(&self, number: usize) -> Option<&[T; PIECE]> {
        self.0.get(number)?.get().map(|piece| &**piece)
    }
}

impl<'a, T> Shelf<'a, T> {
    /// As [`Pieces::get`].
    #[inline(always)]
    pub(crate) fn get(&mut self, place: usize) -> Option<&'a T> {
        match self.piece.get(place.wrapping_sub(self.first)) {
            Some(element) => Some(element),
            None => self.turn_to(place),
        }
    }

    #[cold]
    #[inline(never)]
    fn turn_to(&mut self, place: usize) -> Option<&'a T> {
        let piece = self.pieces.piece(place / PIECE)?;
        (self.first, self.piece) = (place / PIECE * PIECE, piece);
        piece.get(place % PIECE)
    }
}
