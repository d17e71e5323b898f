//! Values of one type in their order, each as the bytes that it has on the wire: there may be
//! millions.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SpillList, check};
use crate::error::{Error, ErrorKind};
use crate::wire::{decode_record, encode};

/// A list of values. Encoded, it is what a `Vec` of them would be.
pub(crate) struct SpillValues<T> {
    list: SpillList,
    /// The one that is being added.
    record: Vec<u8>,
    of: PhantomData<fn() -> T>,
}

impl<T> Default for SpillValues<T> {
    fn default() -> Self {
        SpillValues {
            list: SpillList::default(),
            record: Vec::new(),
            of: PhantomData,
        }
    }
}

impl<T> fmt::Debug for SpillValues<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.len())
    }
}

impl<T> SpillValues<T> {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Serialize + DeserializeOwned> SpillValues<T> {
    pub(crate) fn push(&mut self, value: &T) -> Result<(), Error> {
        self.record.clear();
        encode(value, &mut self.record)?;
        self.list.push(&self.record);
        Ok(())
    }

    /// The value at a position before the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read: whoever goes on has lost it.
    pub(crate) fn get(&self, at: usize) -> Result<T, Error> {
        self.list.with(at, decode_record).flatten().ok_or_else(lost)
    }

    /// All of them, the first one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<T, Error>> {
        let mut walk = self.list.walk_from(0);
        (0..self.len()).map(move |_| walk.next().and_then(decode_record).ok_or_else(lost))
    }

    /// All of them, the last one first.
    pub(crate) fn iter_back(&self) -> impl Iterator<Item = Result<T, Error>> {
        (0..self.len()).rev().map(|at| self.get(at))
    }
}

/// Why a value is not there: the first failure of the file, unless it has been told.
fn lost() -> Error {
    let unknown = || Error::new(ErrorKind::FileIo, "what was written to a file is not there");
    check().err().unwrap_or_else(unknown)
}

impl<T: Serialize + DeserializeOwned> Serialize for SpillValues<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = serializer.serialize_seq(Some(self.len()))?;
        for value in self.iter() {
            values.serialize_element(&value.map_err(S::Error::custom)?)?;
        }
        values.end()
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for SpillValues<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Values(PhantomData))
    }
}

struct Values<T>(PhantomData<fn() -> T>);

impl<'de, T: Serialize + DeserializeOwned> Visitor<'de> for Values<T> {
    type Value = SpillValues<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        use serde::de::Error as _;
        let mut values = SpillValues::default();
        while let Some(value) = seq.next_element()? {
            values.push(&value).map_err(A::Error::custom)?;
        }
        Ok(values)
    }
}
