//! Sets of stretches of a file.

use std::ops::Range;

/// Stretches of bytes, ascending, apart and not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Of stretches in any order, that may overlap.
    pub(crate) fn of(parts: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut parts: Vec<_> = parts.into_iter().filter(|part| part.start < part.end).collect();
        parts.sort_unstable_by_key(|part| part.start);
        let mut ranges: Vec<Range<u64>> = Vec::with_capacity(parts.len());
        for part in parts {
            match ranges.last_mut() {
                Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
                _ => ranges.push(part),
            }
        }
        Self(ranges)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// How many stretches there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, part: Range<u64>) {
        // What comes in order only makes the last one longer.
        match self.0.last_mut() {
            Some(last) if part.start == last.end => last.end = part.end.max(last.end),
            _ => *self = Self::of(self.iter().chain([part])),
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        *self = Self::of(self.iter().chain(other.iter()));
    }

    /// Takes `other` out.
    pub(crate) fn cut(&mut self, other: &Self) {
        let mut left = Vec::with_capacity(self.0.len());
        for part in self.iter() {
            let mut at = part.start;
            let first = other.0.partition_point(|cut| cut.end <= part.start);
            for cut in other.0[first..].iter().take_while(|cut| cut.start < part.end) {
                if at < cut.start {
                    left.push(at..cut.start);
                }
                at = at.max(cut.end);
            }
            if at < part.end {
                left.push(at..part.end);
            }
        }
        self.0 = left;
    }

    /// Whether all bytes below `end` are in it.
    pub(crate) fn cover(&self, end: u64) -> bool {
        matches!(&self.0[..], [all] if all.start == 0 && all.end >= end)
    }

    /// How many bytes are in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|part| part.end - part.start).sum()
    }

    /// The first stretch that ends after `at`.
    pub(crate) fn from(&self, at: u64) -> Option<Range<u64>> {
        self.0.get(self.0.partition_point(|part| part.end <= at)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(ranges: &Ranges) -> Vec<bool> {
        (0..64).map(|at| ranges.iter().any(|part| part.contains(&at))).collect()
    }

    fn parts() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec(
            (0..60u64, 0..8u64).prop_map(|(at, len)| at..(at + len).min(60)),
            0..9,
        )
    }

    proptest! {
        #[test]
        fn sets_behave_as_sets(a in parts(), b in parts()) {
            let (left, right) = (Ranges::of(a.clone()), Ranges::of(b.clone()));
            let mut one_by_one = Ranges::default();
            a.iter().filter(|part| !part.is_empty()).for_each(|part| one_by_one.add(part.clone()));
            prop_assert_eq!(&one_by_one, &left);
            let (mut joined, mut cut) = (left.clone(), left.clone());
            joined.join(&right);
            cut.cut(&right);
            for (at, (l, r)) in bits(&left).into_iter().zip(bits(&right)).enumerate() {
                prop_assert_eq!(bits(&joined)[at], l || r);
                prop_assert_eq!(bits(&cut)[at], l && !r);
            }
            prop_assert!(joined.0.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(joined.bytes(), bits(&joined).iter().filter(|bit| **bit).count() as u64);
        }
    }

    #[test]
    fn a_whole_file_is_covered() {
        assert!(Ranges::of([4..8, 0..4]).cover(8));
        assert!(!Ranges::of([0..4, 5..8]).cover(8));
        assert_eq!(Ranges::of([0..4, 6..8]).from(4), Some(6..8));
    }
}
