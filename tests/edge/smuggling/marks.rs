//! A number in the targets of a case, so that what comes late is told of the right one. Never changes a length: a mark stands in
//! place of the beginning of a word.

use crate::backend::Request;

/// What the cases ask for, and what stands behind the number in its place.
const WORDS: [(&[u8], &str); 5] = [
    (b"/case", ""),
    (b"/hidden", "hi"),
    (b"/second", "se"),
    (b"/behind", "be"),
    (b"/tunnelled", "tunne"),
];

fn mark(number: usize, rest: &str) -> Vec<u8> {
    format!("/{number:04}{rest}").into_bytes()
}

/// The bytes with this number in each of their targets.
pub(super) fn put(bytes: &[u8], number: usize) -> Vec<u8> {
    WORDS.iter().fold(bytes.to_vec(), |all, (word, rest)| replaced(&all, word, &mark(number, rest)))
}

/// The last number in these bytes.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    let numbers = bytes.windows(5).rev();
    let mut marks = numbers.filter(|w| w[0] == b'/' && w[1..].iter().all(u8::is_ascii_digit));
    std::str::from_utf8(marks.next()?.get(1..)?).ok()?.parse().ok()
}

/// The request as it would be without a number.
pub(super) fn taken_off(request: &Request) -> Request {
    let mut request = request.clone();
    let Some(number) = find(request.head.target.as_bytes()) else { return request };
    // The longest first: each begins with the shortest.
    for (word, rest) in WORDS.iter().rev() {
        let target = replaced(request.head.target.as_bytes(), &mark(number, rest), word);
        request.head.target = String::from_utf8(target).unwrap();
        request.body = replaced(&request.body, &mark(number, rest), word);
    }
    request
}

/// Each of these in place of those.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut all = bytes.to_vec();
    let mut at = 0;
    while at + from.len() <= all.len() {
        if all[at..].starts_with(from) {
            all[at..at + from.len()].copy_from_slice(to);
        }
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_changes_no_length_and_comes_off_again() {
        for text in ["/case?x /case#y", "/hidden", "a /second /tunnelled b", "/behind", "/other"] {
            let marked = put(text.as_bytes(), 417);
            assert_eq!(marked.len(), text.len());
            assert_eq!(find(&marked), (text != "/other").then_some(417));
            let back = WORDS
                .iter()
                .rev()
                .fold(marked, |all, (word, rest)| replaced(&all, &mark(417, rest), word));
            assert_eq!(back, text.as_bytes());
        }
    }
}
