//! The plain little-endian form that snapshots are written in.

use model::{Instrument, Name, Price, Quantity, TradeId};

/// Why a snapshot's content cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot content is invalid: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads what the `put` functions wrote.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn i128(&mut self) -> Result<i128, Malformed> {
        self.array().map(i128::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    /// A count of items of at least `size` bytes each, which cannot exceed what is left.
    pub(super) fn count(&mut self, size: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count.saturating_mul(size) > self.0.len() {
            return Err(Malformed("a count exceeds the bytes that are left"));
        }
        Ok(count)
    }

    pub(super) fn name<const N: usize>(&mut self) -> Result<Name<N>, Malformed> {
        let len = self.u8()? as usize;
        Name::new(self.take(len)?).map_err(|_| Malformed("a name"))
    }

    pub(super) fn instrument(&mut self) -> Result<Instrument, Malformed> {
        let len = self.u8()? as usize;
        Instrument::new(self.take(len)?).map_err(|_| Malformed("an instrument"))
    }

    pub(super) fn price(&mut self) -> Result<Price, Malformed> {
        Price::from_raw(self.i64()?).ok_or(Malformed("a price out of range"))
    }

    pub(super) fn quantity(&mut self) -> Result<Quantity, Malformed> {
        Quantity::from_raw(self.i64()?).ok_or(Malformed("a quantity out of range"))
    }

    pub(super) fn trade_id(&mut self) -> Result<TradeId, Malformed> {
        match self.u8()? {
            0 => Ok(TradeId::Number(self.u64()?)),
            1 => Ok(TradeId::Uuid(self.array().map(u128::from_le_bytes)?)),
            _ => Err(Malformed("a trade id")),
        }
    }

    /// What [`put_section`] wrote, by itself.
    pub(super) fn section(&mut self) -> Result<Self, Malformed> {
        let len = usize::try_from(self.u64()?).map_err(|_| Malformed("a section's length"))?;
        self.take(len).map(Self)
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_i128(out: &mut Vec<u8>, value: i128) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u32(out, u32::try_from(count).expect("every collection is bounded far below 2^32"));
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(u8::try_from(text.len()).expect("names are shorter than 256 bytes"));
    out.extend_from_slice(text);
}

pub(super) fn put_trade_id(out: &mut Vec<u8>, id: TradeId) {
    match id {
        TradeId::Number(number) => {
            out.push(0);
            put_u64(out, number);
        }
        TradeId::Uuid(uuid) => {
            out.push(1);
            out.extend_from_slice(&uuid.to_le_bytes());
        }
    }
}

/// Writes content behind its length, so that a reader can pass over it.
pub(super) fn put_section(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    write(out);
    let len = (out.len() - start - 8) as u64;
    out[start..start + 8].copy_from_slice(&len.to_le_bytes());
}

pub(super) fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, write: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}
