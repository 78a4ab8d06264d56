//! How far a text goes on without anything special: most of the bytes of a frame are looked at here.

/// Keys and ids are at most this long, and texts mostly longer.
const SHORT: usize = 40;

/// How many bytes at the start of `text` are neither `"` nor `\` nor a control character.
#[inline]
pub(super) fn plain_run(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    for bytes in text.as_chunks::<8>().0.iter().take(SHORT / 8) {
        let word = u64::from_le_bytes(*bytes);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        // A byte's high bit is set where it is zero (quote, slash) or below 0x20 (control); a byte above
        // the first hit may be marked wrongly, the first one never is.
        let hit = (quote.wrapping_sub(ONES) & !quote
            | slash.wrapping_sub(ONES) & !slash
            | word.wrapping_sub(ONES * 0x20) & !word)
            & HIGH;
        if hit != 0 {
            return run + hit.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    run + long_run(text.get(run..).unwrap_or_default())
}

/// The same in two passes, each of which goes by many bytes at a time.
#[inline(never)]
fn long_run(text: &[u8]) -> usize {
    let end = memchr::memchr2(b'"', b'\\', text).unwrap_or(text.len());
    let run = text.get(..end).unwrap_or_default();
    if run.iter().fold(u8::MAX, |least, &b| least.min(b)) >= 0x20 {
        return end;
    }
    run.iter().position(|&b| b < 0x20).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_run_ends_at_the_first_special_byte(text in prop::collection::vec(prop_oneof![80 => Just(b'a'), 1 => Just(0x80), 1 => Just(0xff), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(0x1f), 1 => Just(0x20)], 0..140)) {
            let expected = text.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(text.len());
            prop_assert_eq!(plain_run(&text), expected);
        }
    }
}
