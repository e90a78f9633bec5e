//! Parameters as clients bind them.

use arrow::datatypes::DataType;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::portal::Portal;
use pgwire::error::PgWireResult;

use super::session::error;
use super::statement::Prepared;
use crate::error::SqlError;

/// Microseconds between 1970 and 2000, from which Postgres counts.
const EPOCH_2000_US: i64 = 946_684_800_000_000;
/// Days between 1970 and 2000.
const EPOCH_2000_DAYS: i32 = 10_957;

/// The values of a portal's parameters, in the types that the statement wants.
pub(super) fn read(portal: &Portal<Prepared>) -> PgWireResult<Vec<ScalarValue>> {
    let wanted = &portal.statement.statement.parameters;
    let values = portal.parameters.iter().enumerate().map(|(at, bytes)| {
        let wanted = wanted.fields().get(at).map_or(&DataType::Utf8, |field| field.data_type());
        let given = portal.statement.parameter_types.get(at).and_then(Option::as_ref);
        let binary = portal.parameter_format.is_binary(at);
        value(bytes.as_ref(), wanted, given, binary)
            .map_err(|problem| error(SqlError::meaning(format!("parameter ${} is not understood: {problem}", at + 1))))
    });
    values.collect()
}

fn value(bytes: Option<&Bytes>, wanted: &DataType, given: Option<&Type>, binary: bool) -> Result<ScalarValue, String> {
    let wanted = if *wanted == DataType::Null { &DataType::Utf8 } else { wanted };
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(wanted).map_err(|error| error.to_string());
    };
    let value = if binary { in_binary(bytes, given, wanted)? } else { in_text(bytes, wanted)? };
    value.cast_to(wanted).map_err(|error| error.to_string())
}

fn in_text(bytes: &[u8], wanted: &DataType) -> Result<ScalarValue, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    match (wanted, text) {
        (DataType::Boolean, "t") => Ok(ScalarValue::Boolean(Some(true))),
        (DataType::Boolean, "f") => Ok(ScalarValue::Boolean(Some(false))),
        _ => Ok(ScalarValue::Utf8(Some(text.to_owned()))),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| format!("{} bytes instead of {N}", bytes.len()))
}

fn in_binary(bytes: &[u8], given: Option<&Type>, wanted: &DataType) -> Result<ScalarValue, String> {
    let kind = match given {
        Some(kind) if *kind != Type::UNKNOWN => kind.clone(),
        _ => arrow_pg::datatypes::into_pg_type(wanted).map_err(|error| error.to_string())?,
    };
    Ok(match kind {
        Type::BOOL => ScalarValue::Boolean(Some(fixed::<1>(bytes)?[0] != 0)),
        Type::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(bytes)?))),
        Type::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes)?))),
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(bytes)?))),
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(fixed(bytes)?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(fixed(bytes)?))),
        Type::DATE => {
            let days = i32::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_2000_DAYS);
            ScalarValue::Date32(Some(days.ok_or("a date out of range")?))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_2000_US);
            ScalarValue::TimestampMicrosecond(Some(micros.ok_or("a time out of range")?), Some("UTC".into()))
        }
        Type::NUMERIC => ScalarValue::Utf8(Some(numeric(bytes)?)),
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::BPCHAR | Type::UNKNOWN => in_text(bytes, wanted)?,
        other => return Err(format!("type {other} in binary is not taken: send it as text")),
    })
}

/// A numeric in binary as text: groups of four decimal digits.
fn numeric(bytes: &[u8]) -> Result<String, String> {
    let word = |at: usize| -> Result<i16, String> {
        let pair = bytes.get(at * 2..at * 2 + 2).ok_or("a numeric that is cut off")?;
        Ok(i16::from_be_bytes([pair[0], pair[1]]))
    };
    let (count, weight, sign, scale) = (word(0)?, word(1)?, word(2)?, word(3)?);
    if !matches!(sign, 0 | 0x4000) || !(0..=100).contains(&count) || !(-30..=30).contains(&weight) {
        return Err("a numeric that is no number of ours".to_owned());
    }
    let group = |place: i16| -> Result<i16, String> {
        let at = weight - place;
        if (0..count).contains(&at) { word(4 + usize::try_from(at).expect("not negative")) } else { Ok(0) }
    };
    let mut text = String::new();
    if sign != 0 {
        text.push('-');
    }
    text.push('0');
    for place in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(place)?));
    }
    let scale = usize::try_from(scale).unwrap_or(0).min(60);
    if scale > 0 {
        text.push('.');
        let mut part = String::new();
        for place in 1..=i16::try_from(scale.div_ceil(4)).expect("at most 15") {
            part.push_str(&format!("{:04}", group(-place)?));
        }
        text.push_str(&part[..scale]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[i16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numerics_keep_every_digit() {
        // 12345.678 is 1 2345 . 6780.
        assert_eq!(numeric(&words(&[3, 1, 0, 3, 1, 2345, 6780])), Ok("000012345.678".to_owned()));
        // -0.00000001 is 0 . 0000 0001.
        assert_eq!(numeric(&words(&[1, -2, 0x4000, 8, 1])), Ok("-00000.00000001".to_owned()));
        assert_eq!(numeric(&words(&[0, 0, 0, 0])), Ok("00000".to_owned()));
        assert!(numeric(&words(&[0, 0, -16384, 0])).is_err(), "NaN");
        assert!(numeric(&[0, 1]).is_err());
    }
}
