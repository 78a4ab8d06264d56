//! The fuzz targets' properties on stable Rust: over the corpus, and over mutations of it by fixed seeds.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use fairlead::testing::fuzz;

/// Mutations of each seed file.
const ROUNDS: u64 = 20_000;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "the corpus of {target} is not there");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// splitmix64
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ z >> 31) as usize >> 1
}

/// A few changes of the kind that finds parser bugs: bytes changed, cut, doubled, moved in from another seed.
fn mutate(seeds: &[Vec<u8>], state: &mut u64) -> Vec<u8> {
    const TELLING: &[u8] = b"{}[]\":,\\u0dD8\r\n -+e.\0\x7f\xff";
    let mut data = seeds[next(state) % seeds.len()].clone();
    for _ in 0..=next(state) % 4 {
        if data.is_empty() {
            return data;
        }
        let (at, end) = (next(state) % data.len(), next(state) % data.len());
        let range = at.min(end)..at.max(end).min(at.min(end) + 16);
        match next(state) % 5 {
            0 => data[at] = TELLING[next(state) % TELLING.len()],
            1 => data.insert(at, TELLING[next(state) % TELLING.len()]),
            2 => drop(data.drain(range)),
            3 => {
                let part = data[range].to_vec();
                data.splice(at..at, part);
            }
            _ => {
                let other = &seeds[next(state) % seeds.len()];
                let from = next(state) % (other.len() + 1);
                let part = other[from..other.len().min(from + 32)].to_vec();
                data.splice(at..at, part);
            }
        }
    }
    data
}

fn run(target: &str, property: fn(&[u8])) {
    let seeds = corpus(target);
    seeds.iter().for_each(|seed| property(seed));
    let mut state = 1;
    for round in 0..ROUNDS {
        let before = state;
        let data = mutate(&seeds, &mut state);
        let text = String::from_utf8_lossy(&data).into_owned();
        let held = std::panic::catch_unwind(|| property(&data)).is_ok();
        assert!(held, "round {round}, state {before}: {text:?}");
    }
}

#[test]
fn frames_are_the_same_however_they_arrive() {
    run("frame", fuzz::frame);
}

#[test]
fn files_of_tokens_list_callers_or_mistakes() {
    run("tokens", fuzz::tokens);
}

#[test]
fn signed_tokens_are_taken_for_what_they_say_alone() {
    run("jwt", fuzz::jwt);
}

#[test]
fn ranges_hold_what_their_bits_say() {
    run("cidr", fuzz::cidr);
}

#[test]
fn messages_mean_what_a_json_parser_says() {
    run("message", fuzz::message);
}

#[test]
fn proxy_headers_are_the_same_however_they_arrive() {
    run("proxy_protocol", fuzz::proxy_protocol);
}
