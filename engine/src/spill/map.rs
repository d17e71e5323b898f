//! A map whose keys and values are bytes, with eight bytes besides for each of them and about as
//! many free. Nothing is ever removed: what a value is replaced by is added.

use std::hash::{BuildHasher, RandomState};

use super::{Room, Spill, SpillReader, put_number, take_number};

/// Bytes of a slot: the place of a record and one, and above that some bits of the key's hash.
const SLOT_LEN: usize = 8;
const PLACE_BITS: u32 = 40;

/// Slots that a map begins with.
const SLOTS_MIN: u64 = 1 << 10;

/// Bytes of a record that are read at once: most are shorter.
const RECORD_LEN: usize = 128;

/// Keys with their values.
#[derive(Debug, Default)]
pub(crate) struct SpillMap {
    room: Room,
    hashes: RandomState,
    /// Each key with its value, the lengths of both in front. Of a key that has several the last
    /// one counts.
    records: Spill,
    /// Where the record of a key is, in the first slot from the one that its hash names on that
    /// was free when it was added.
    slots: Spill,
    slots_len: u64,
    len: u64,
}

impl SpillMap {
    #[cfg(test)]
    pub(crate) fn new(room: Room) -> Self {
        SpillMap {
            room,
            records: Spill::new(room),
            slots: Spill::new(room),
            ..SpillMap::default()
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(key).ok().map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Adds a value if there is none for that key. Returns the one that was there.
    pub(crate) fn insert(&mut self, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        self.make_room();
        let slot = match self.find(key) {
            Ok((_, found)) => return Some(found),
            Err(slot) => slot,
        };
        self.put(slot, key, value);
        self.len += 1;
        None
    }

    /// Gives a key a value, whatever it had.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.make_room();
        let found = self.find(key);
        self.len += u64::from(found.is_err());
        let slot = found.map_or_else(|slot| slot, |(slot, _)| slot);
        self.put(slot, key, value);
    }

    fn put(&mut self, slot: u64, key: &[u8], value: &[u8]) {
        let mut record = Vec::with_capacity(key.len() + value.len() + 4);
        put_number(&mut record, key.len() as u64);
        put_number(&mut record, value.len() as u64);
        record.extend_from_slice(key);
        record.extend_from_slice(value);
        let place = self.records.push(&record);
        let hash = self.hashes.hash_one(key);
        self.slots.change(slot, &pack(hash, place));
    }

    /// Shows all keys, some of them more than once.
    pub(crate) fn each_key(&self, mut see: impl FnMut(&[u8])) {
        let mut records = SpillReader::new(&self.records, 0, self.records.len());
        while !records.is_at_end() {
            let (key_len, value_len) = (records.number() as usize, records.number() as usize);
            if let Some(record) = records.take(key_len + value_len) {
                see(record.get(..key_len).unwrap_or_default());
            }
        }
    }

    /// The place of the slot of a key and its value, or the place of the one that is free for it.
    fn find(&self, key: &[u8]) -> Result<(u64, Vec<u8>), u64> {
        let hash = self.hashes.hash_one(key);
        let mut at = self.first_slot(hash);
        for _ in 0..self.slots_len {
            let place = at * SLOT_LEN as u64;
            match self.slot(place) {
                0 => return Err(place),
                slot if is_like(slot, hash) => {
                    if let Some(value) = self.value((slot & PLACE_MASK) - 1, key) {
                        return Ok((place, value));
                    }
                }
                _ => {}
            }
            at = (at + 1) % self.slots_len;
        }
        Err(u64::MAX)
    }

    fn first_slot(&self, hash: u64) -> u64 {
        hash & (self.slots_len.max(1) - 1)
    }

    fn slot(&self, place: u64) -> u64 {
        let mut slot = [0; SLOT_LEN];
        self.slots.read(place, &mut slot);
        u64::from_le_bytes(slot)
    }

    /// The value of the record at `place`, if that is its key.
    fn value(&self, place: u64, key: &[u8]) -> Option<Vec<u8>> {
        let mut begin = [0; RECORD_LEN];
        let read = self.records.read(place, &mut begin);
        let begin = begin.get(..read)?;
        let mut rest = begin;
        let (key_len, value_len) = (take_number(&mut rest), take_number(&mut rest));
        let (key_len, value_len) = (key_len as usize, value_len as usize);
        if key_len != key.len() {
            return None;
        }
        let mut record = rest.to_vec();
        if record.len() < key_len + value_len {
            let read = record.len();
            record.resize(key_len + value_len, 0);
            let after = place + begin.len() as u64;
            self.records.read(after, record.get_mut(read..)?);
        }
        record.truncate(key_len + value_len);
        (record.get(..key_len)? == key).then(|| record.split_off(key_len))
    }

    fn make_room(&mut self) {
        if self.len >= self.slots_len / 4 * 3 {
            self.grow();
        }
    }

    /// Makes room for twice as many.
    fn grow(&mut self) {
        self.slots_len = (2 * self.slots_len).max(SLOTS_MIN);
        // The old ones first: they are not needed any more.
        self.slots = Spill::default();
        let mut slots = Spill::zeros(self.room, self.slots_len as usize * SLOT_LEN);
        let mut records = SpillReader::new(&self.records, 0, self.records.len());
        let mut key: Vec<u8> = Vec::new();
        while !records.is_at_end() {
            let place = records.at();
            let (key_len, value_len) = (records.number() as usize, records.number() as usize);
            key.clear();
            key.extend(records.peek(key_len).iter().take(key_len));
            records.take(key_len + value_len);
            let hash = self.hashes.hash_one(&*key);
            let mut at = hash & (self.slots_len - 1);
            let mut slot = [0; SLOT_LEN];
            // A file that has failed gives nothing, which is what ends this.
            while slots.read(at * SLOT_LEN as u64, &mut slot) == SLOT_LEN && slot != [0; SLOT_LEN] {
                let taken = u64::from_le_bytes(slot);
                if is_like(taken, hash) && self.value((taken & PLACE_MASK) - 1, &key).is_some() {
                    break;
                }
                at = (at + 1) % self.slots_len;
            }
            slots.change(at * SLOT_LEN as u64, &pack(hash, place));
        }
        self.slots = slots;
    }
}

const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;

/// A slot for a record at `place`.
fn pack(hash: u64, place: u64) -> [u8; SLOT_LEN] {
    (hash & !PLACE_MASK | (place + 1) & PLACE_MASK).to_le_bytes()
}

fn is_like(slot: u64, hash: u64) -> bool {
    (slot ^ hash) & !PLACE_MASK == 0
}
