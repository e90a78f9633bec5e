//! Spoilt copies of frames.

use super::Malformed;

/// A spoilt copy of `frame`, and whether it goes out as a binary frame. A form that finds nothing to spoil
/// (no price, no time) cuts the frame instead.
pub(crate) fn spoil(frame: &[u8], form: Malformed) -> (Vec<u8>, bool) {
    let price = |value: &str| decimal(frame).map(|span| replaced(frame, span, value.as_bytes()));
    let spoilt = match form {
        Malformed::Truncated => None,
        Malformed::Empty => Some(Vec::new()),
        Malformed::NotJson => Some(b"<html><body>503 Service Unavailable</body></html>".to_vec()),
        Malformed::BadUtf8 => {
            let mut copy = frame.to_vec();
            let middle = copy.len() / 2;
            copy.splice(middle..middle, [0xff, 0xc0, 0x80]);
            Some(copy)
        }
        Malformed::Binary => return (frame.to_vec(), true),
        Malformed::Deep => Some(b"[".repeat(20_000)),
        Malformed::NotANumber => price("NaN"),
        Malformed::Negative => price("-1.5"),
        Malformed::Zero => price("0"),
        Malformed::Exponent => price("1e999"),
        Malformed::Huge => price("1000000000000000000000000000000"),
        Malformed::Null => whole_value(frame).map(|span| replaced(frame, span, b"null")),
        Malformed::WrongType => whole_value(frame).map(|span| replaced(frame, span, b"{\"a\":[1]}")),
        Malformed::Epoch => unix_time(frame).map(|span| replaced(frame, span, b"0")),
        Malformed::Future => unix_time(frame).map(|(from, to)| {
            let digits = &b"4102444800000000000"[..(to - from).min(19)];
            replaced(frame, (from, to), digits)
        }),
    };
    (spoilt.unwrap_or_else(|| frame[..frame.len() / 2].to_vec()), false)
}

fn replaced(frame: &[u8], (from, to): (usize, usize), with: &[u8]) -> Vec<u8> {
    [&frame[..from], with, &frame[to..]].concat()
}

/// Runs of digits and points that stand alone as a value.
fn numbers(frame: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < frame.len() {
            if !frame[at].is_ascii_digit() {
                at += 1;
                continue;
            }
            let from = at;
            while at < frame.len() && (frame[at].is_ascii_digit() || frame[at] == b'.') {
                at += 1;
            }
            let opens = from > 0 && matches!(frame[from - 1], b'"' | b':' | b'[' | b',');
            let closes = at < frame.len() && matches!(frame[at], b'"' | b',' | b']' | b'}');
            if opens && closes {
                return Some((from, at));
            }
        }
        None
    })
}

/// The first number with a point: in every data frame of every venue a price or a quantity.
fn decimal(frame: &[u8]) -> Option<(usize, usize)> {
    numbers(frame).find(|(from, to)| frame[*from..*to].contains(&b'.'))
}

/// The same with its quotation marks.
fn whole_value(frame: &[u8]) -> Option<(usize, usize)> {
    let (from, to) = decimal(frame)?;
    let quoted = frame[from - 1] == b'"' && frame.get(to) == Some(&b'"');
    Some(if quoted { (from - 1, to + 1) } else { (from, to) })
}

/// The first whole number of 13 digits or more.
fn unix_time(frame: &[u8]) -> Option<(usize, usize)> {
    numbers(frame).find(|(from, to)| to - from >= 13 && !frame[*from..*to].contains(&b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRADE: &str = r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","p":"61837.63000000","T":1723161255342}"#;

    fn text(form: Malformed) -> String {
        String::from_utf8_lossy(&spoil(TRADE.as_bytes(), form).0).into_owned()
    }

    #[test]
    fn each_form_spoils_what_it_says() {
        assert!(text(Malformed::NotANumber).contains(r#""p":"NaN""#));
        assert!(text(Malformed::Null).contains(r#""p":null"#));
        assert!(text(Malformed::WrongType).contains(r#""p":{"a":[1]}"#));
        assert!(text(Malformed::Epoch).contains(r#""E":0,"#));
        assert!(text(Malformed::Future).contains(r#""E":4102444800000,"#));
        assert!(std::str::from_utf8(&spoil(TRADE.as_bytes(), Malformed::BadUtf8).0).is_err());
        assert!(spoil(TRADE.as_bytes(), Malformed::Binary).1);
        for form in Malformed::ALL {
            let (spoilt, binary) = spoil(TRADE.as_bytes(), form);
            assert!(binary || spoilt != TRADE.as_bytes(), "{form:?}");
        }
    }

    #[test]
    fn what_has_no_price_is_cut() {
        assert_eq!(spoil(b"{\"channel\":\"heartbeat\"}", Malformed::Zero).0, b"{\"channel\":");
    }
}
