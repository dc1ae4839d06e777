//! Weights packed once for evaluation, rather than at each call of the network.
//!
//! Packed weights are found again by the memory of the weights that they were packed from. An entry holds
//! that memory, so it cannot be handed out again, and flex copies shared memory before it writes: while an
//! entry lives, its weights do not change. Packed weights are therefore never stale. Entries whose weights no
//! one else holds are dropped when other weights come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::amx::Aligned;
use super::tensors::FlexTensor;

/// Weights in the order in which the loops read them.
#[derive(Debug, PartialEq)]
pub(super) enum Packed {
    F32(Vec<f32>),
    /// Pairs of rows.
    Bf16(Vec<u32>),
    /// Pairs of rows, for tiles.
    Tiles(Aligned),
}

static CACHE: Cache = Cache(Mutex::new(Vec::new()));

/// Packed weights that are kept. The networks of a process share one cache; a test has its own.
struct Cache(Mutex<Vec<Entry>>);

/// Which packing of the same weights: it depends on the length of vectors and on the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) lanes: usize,
    pub(super) order: Order,
}

/// The order of packed weights: that of the loops which read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Direct,
    Winograd,
    Pairs,
    Tiles,
}

struct Entry {
    weight: FlexTensor,
    packings: Vec<(Packing, Arc<Packed>)>,
}

impl Entry {
    fn is_of(&self, weight: &FlexTensor) -> bool {
        std::ptr::eq(self.weight.bytes(), weight.bytes()) && self.weight.layout() == weight.layout()
    }

    fn find(&self, packing: Packing) -> Option<Arc<Packed>> {
        self.packings.iter().find(|(found, _)| *found == packing).map(|(_, packed)| packed.clone())
    }
}

/// Returns the packed weights, by `pack` when they are not kept yet.
///
/// Weights that only the caller holds are not kept: no later call can have the same ones.
pub(super) fn once(weight: &FlexTensor, packing: Packing, pack: impl FnOnce() -> Packed) -> Arc<Packed> {
    CACHE.once(weight, packing, pack)
}

/// Frees all packed weights.
pub(super) fn release() {
    CACHE.release();
}

impl Cache {
    fn once(&self, weight: &FlexTensor, packing: Packing, pack: impl FnOnce() -> Packed) -> Arc<Packed> {
        if weight.is_unique() {
            return Arc::new(pack());
        }
        let found =
            self.entries().iter().find(|entry| entry.is_of(weight)).and_then(|entry| entry.find(packing));
        if let Some(packed) = found {
            return packed;
        }
        // Without the lock: packing uses all threads, and a thread that waits for others may begin another call.
        let packed = Arc::new(pack());
        let mut entries = self.entries();
        let dropped: Vec<Entry> = entries.extract_if(.., |entry| entry.weight.is_unique()).collect();
        match entries.iter_mut().find(|entry| entry.is_of(weight)) {
            Some(entry) if entry.find(packing).is_some() => {}
            Some(entry) => entry.packings.push((packing, packed.clone())),
            None => {
                entries.push(Entry { weight: weight.clone(), packings: vec![(packing, packed.clone())] });
            }
        }
        drop(entries);
        drop(dropped);
        packed
    }

    fn release(&self) {
        let _freed = std::mem::take(&mut *self.entries());
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    const PACKING: Packing = Packing { lanes: 8, order: Order::Direct };

    fn weight(value: f32) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(vec![value; 4], [4]))
    }

    /// Other tests release what the process keeps.
    static OWN: Cache = Cache(Mutex::new(Vec::new()));

    /// Packs to the first value, and says whether it did.
    fn pack(weight: &FlexTensor, packing: Packing) -> (f32, bool) {
        let mut packed = false;
        let values = OWN.once(weight, packing, || {
            packed = true;
            Packed::F32(vec![weight.storage::<f32>()[0]])
        });
        let Packed::F32(values) = &*values else { panic!("packed as f32") };
        (values[0], packed)
    }

    fn kept(value: f32) -> bool {
        OWN.entries().iter().any(|entry| entry.weight.storage::<f32>()[0] == value)
    }

    // One test: its parts must not release what another part keeps.
    #[test]
    fn weights_are_packed_once_and_never_stale() {
        let mut mine = weight(101.0);
        assert_eq!(pack(&mine, PACKING), (101.0, true));
        assert_eq!(pack(&mine, PACKING), (101.0, true), "only the caller holds them");
        let mut shared = mine.clone();
        assert_eq!(pack(&mine, PACKING), (101.0, true));
        assert_eq!(pack(&shared, PACKING), (101.0, false));
        let other = Packing { order: Order::Pairs, ..PACKING };
        assert_eq!(pack(&shared, other), (101.0, true));
        assert_eq!(pack(&shared, other), (101.0, false));

        // An update in place, as an optimiser does, is a copy while the packed weights are kept.
        mine.storage_mut::<f32>()[0] = 102.0;
        let updated = mine.clone();
        assert_eq!(pack(&updated, PACKING), (102.0, true));
        assert_eq!(pack(&shared, PACKING), (101.0, false));
        shared.storage_mut::<f32>()[0] = 103.0;
        assert!(kept(101.0), "no other weights have come");
        let (next, _held) = (weight(104.0), updated);
        let _next = next.clone();
        assert_eq!(pack(&next, PACKING), (104.0, true));
        assert!(!kept(101.0) && kept(102.0) && kept(104.0));

        OWN.release();
        assert_eq!(pack(&next, PACKING), (104.0, true));
    }
}
