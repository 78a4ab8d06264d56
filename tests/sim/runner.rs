//! Runs schedules, and says how a broken one went.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::mutate::Mutation;
use super::truth::{Rule, Violation};
use super::world::World;

/// How many schedules a run tries; `SIM_SEEDS` sets another number.
const SEEDS: u64 = 2000;
const STEPS: usize = 500;

/// Runs one schedule. Gives what it broke, and its trace.
fn schedule(
    seed: u64,
    mutation: Option<Mutation>,
    traced: bool,
) -> (Option<Violation>, Vec<String>, [usize; 5]) {
    let mut world = World::new(seed, mutation, traced);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run(STEPS)));
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        world.truth.fail(Rule::Panic, text.unwrap_or_default());
    }
    (
        world.truth.violation.take(),
        world.truth.trace.take().unwrap_or_default(),
        world.truth.checked,
    )
}

fn report(seed: u64, violation: &Violation) -> ! {
    let (_, trace, _) = schedule(seed, None, true);
    let from =
        if std::env::var_os("SIM_SEED").is_some() { 0 } else { trace.len().saturating_sub(60) };
    let trace = trace.get(from..).unwrap_or_default().join("\n");
    panic!("{trace}\nSIM_SEED={seed}: {:?}: {}", violation.rule, violation.what);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_schedule_breaks_a_promise() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut checked = [0; 5];
    for seed in seeds {
        let (violation, _, answered) = schedule(seed, None, false);
        checked.iter_mut().zip(answered).for_each(|(all, one)| *all += one);
        if let Some(violation) = violation {
            report(seed, &violation);
        }
    }
    println!("answers of CLIs, answers of ours, events, requests of CLIs, broadcasts: {checked:?}");
}

/// Seeds until the bug is found, and what was found.
fn found(mutation: Mutation) -> (u64, Violation) {
    let runs = (0..SEEDS).map(|seed| (seed, schedule(seed, Some(mutation), false).0));
    let first = runs.into_iter().find_map(|(seed, violation)| violation.map(|v| (seed + 1, v)));
    first.unwrap_or_else(|| panic!("{mutation:?} is not found within {SEEDS} seeds"))
}

macro_rules! finds {
    ($($name:ident: $mutation:ident breaks $rule:ident;)*) => {$(
        #[test]
        fn $name() {
            let (seeds, violation) = found(Mutation::$mutation);
            println!("{:?}: found after {seeds} seeds: {}", Mutation::$mutation, violation.what);
            assert_eq!(violation.rule, Rule::$rule, "{}", violation.what);
        }
    )*};
}

finds! {
    swapped_ids_are_found: IdSwap breaks Mixed;
    a_lost_reply_is_found: LostReply breaks Unanswered;
    a_request_at_the_wrong_conn_is_found: WrongConn breaks Mixed;
    a_request_that_is_never_settled_is_found: LeakedPending breaks Unanswered;
    a_turn_that_ends_early_is_found: EarlyTurnEnd breaks Turn;
    a_prefix_taken_for_an_id_is_found: PrefixAccepted breaks Misrouted;
    a_broadcast_at_a_stranger_is_found: StrangersHear breaks Stray;
    a_broadcast_that_is_not_passed_on_is_found: DeafWatch breaks Stray;
    an_error_for_an_answer_that_is_too_large_is_found: AnswerAsRequest breaks Mixed;
    a_session_that_stays_shut_down_is_found: NeverClosed breaks Halted;
    a_session_that_moves_unasked_is_found: MovesUnasked breaks TwoHolders;
    room_that_is_not_given_back_is_found: LeakedLease breaks Lease;
    bytes_that_are_not_counted_are_found: ForgetsBytes breaks Kept;
    answers_that_a_half_close_drops_are_found: HalfCloseIsAll breaks Unanswered;
}
