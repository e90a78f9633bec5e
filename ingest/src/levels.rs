//! Level lists in the form that most venues send: arrays of arrays that begin with price and quantity.

use crate::book::{Level, Levels};
use crate::json::Reader;
use crate::refusal::{DecodeError, Refusal};

/// Appends `[[price, quantity, …], …]` to `out`. Price above zero, quantity zero or more; further elements of
/// a level are passed over.
///
/// # Errors
/// When the text has another form, a number does not fit, or there are more than [`Levels::SIDE_MAX`] levels.
#[inline]
pub fn read_pairs(reader: &mut Reader<'_>, out: &mut Vec<Level>, field: &'static str) -> Result<(), DecodeError> {
    reader.open(b'[', "an array")?;
    if reader.peek()? == b']' {
        reader.close();
        return Ok(());
    }
    loop {
        let level = match reader.plain_pair() {
            Some((price, quantity)) => Level { price, quantity },
            None => one(reader, field)?,
        };
        if level.price == 0 {
            return Err(Refusal::NotPositive { field }.into());
        }
        if out.len() >= Levels::SIDE_MAX {
            return Err(Refusal::TooMany { what: "levels", count: out.len() + 1, max: Levels::SIDE_MAX }.into());
        }
        out.push(level);
        if reader.comma_or(b']', "a comma or the array's end")? {
            return Ok(());
        }
    }
}

/// A level in any valid form.
#[inline(never)]
fn one(reader: &mut Reader<'_>, field: &'static str) -> Result<Level, DecodeError> {
    let mut numbers = [None; 2];
    let mut count = 0;
    reader.array(|reader| {
        match numbers.get_mut(count) {
            Some(slot) => *slot = Some(reader.decimal(field)?),
            None => reader.skip()?,
        }
        count += 1;
        Ok(())
    })?;
    match numbers {
        [Some(price), Some(quantity)] => Ok(Level { price, quantity }),
        _ => Err(Refusal::Missing { field }.into()),
    }
}
