//! Places that are counted per holder, so that no single client can take all of them.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts how many places each holder has.
pub struct Places<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A place of one holder. Dropping it frees the place.
pub struct Place<K: Eq + Hash> {
    places: Arc<Places<K>>,
    holder: K,
}

impl<K: Clone + Eq + Hash> Places<K> {
    /// Takes a place, unless the holder has `most` already.
    pub fn take(self: &Arc<Self>, holder: K, most: usize) -> Option<Place<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(holder.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { places: Arc::clone(self), holder })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_its_places_and_no_more() {
        let places = Arc::new(Places::default());
        let first = places.take("a", 2).expect("is free");
        let second = places.take("a", 2).expect("is free");
        assert!(places.take("a", 2).is_none());
        assert!(places.take("b", 2).is_some(), "another holder's places are its own");
        drop(first);
        assert!(places.take("a", 2).is_some());
        drop(second);
        assert!(places.0.lock().expect("no panic").is_empty(), "a holder without places is forgotten");
    }
}
