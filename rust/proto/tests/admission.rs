//! Admission against a model that keeps everything for ever and knows no shortcuts.

use proptest::collection::vec;
use proptest::prelude::*;
use rlswarm_proto::admission::{Admission, Reason, Rules, Verdict};
use rlswarm_proto::header::{Fields, Header};
use rlswarm_proto::identity::Identity;
use rlswarm_proto::kind::Kind;

const GENESIS: u64 = 1_000_000;
const ROUND: u64 = 10_000;
const OFFSET: u64 = 1_000;

fn rules() -> Rules {
    Rules {
        swarm: [1; 32],
        genesis_ms: GENESIS,
        round_ms: ROUND,
        staleness_rounds: 2,
        clock_offset_ms: OFFSET,
        max_body_stored: 1000,
        max_body_raw: 10_000,
        author_quota: 1500,
    }
}

fn header(author: u8, round: u64, sequence: u64, body_stored: u32, created_at_ms: u64) -> Header {
    let fields = Fields {
        swarm: [1; 32],
        kind: Kind::Rollouts,
        round,
        lottery_root: [0; 32],
        stage: 0,
        slots: vec![],
        author: [0; 32],
        sequence,
        created_at_ms,
        base: [0; 32],
        adapter: [0; 32],
        persona: String::new(),
        body_stored,
        body_raw: 1,
        body_hash: [0; 32],
    };
    Header::sign(&Identity::from_seed(&[author; 32]), fields).expect("fields in range")
}

/// The rules as the documentation states them.
fn model(taken: &[Header], header: &Header, now: u64) -> bool {
    let fields = header.fields();
    let opens = GENESIS + fields.round * ROUND;
    let closes = opens + 3 * ROUND;
    let same_author = || {
        taken
            .iter()
            .filter(|other| other.fields().author == fields.author)
    };
    // Sequence numbers are forgotten with their round.
    let remembered = |other: &&Header| GENESIS + (other.fields().round + 3) * ROUND + OFFSET > now;
    let spent: u32 = same_author()
        .filter(|other| other.fields().round == fields.round)
        .map(|other| other.fields().body_stored)
        .sum();
    now + OFFSET >= opens
        && now < closes + OFFSET
        && fields.created_at_ms + OFFSET >= opens
        && fields.created_at_ms <= now + OFFSET
        && !same_author()
            .filter(remembered)
            .any(|other| other.fields().sequence == fields.sequence)
        && spent + fields.body_stored <= 1500
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn agrees_with_the_model(
        steps in vec((0_u8..3, 0_u64..8, 0_u64..12, 1_u32..900, 0_u64..4000, 0_u64..30_000), 1..40),
    ) {
        let mut admission = Admission::new(rules());
        let mut taken = Vec::new();
        let mut now = GENESIS;
        for (author, round, sequence, stored, passed, age) in steps {
            now += passed;
            let header = header(author, round, sequence, stored, now + 2 * OFFSET - age.min(now));
            let expected = model(&taken, &header, now);
            let examined = admission.examine(&header, now);
            let verdict = admission.admit(&header, now);
            prop_assert_eq!(verdict == Verdict::Accept, expected, "{:?} at {}", verdict, now);
            prop_assert!(!matches!(verdict, Verdict::Reject(_)));
            // `admit` may forget old rounds first, so it takes no less than `examine` does.
            prop_assert!(examined == verdict || verdict == Verdict::Accept);
            if expected {
                taken.push(header);
            }
        }
    }
}

#[test]
fn each_reason_is_told() {
    let mut admission = Admission::new(rules());
    let now = GENESIS + 5 * ROUND;
    let mut judge = |header: &Header| admission.admit(header, now);
    assert_eq!(judge(&header(1, 5, 1, 1000, now)), Verdict::Accept);
    let ignored = [
        (header(1, 5, 1, 1000, now), Reason::Duplicate),
        (header(1, 5, 1, 999, now), Reason::Sequence),
        (header(1, 5, 2, 501, now), Reason::Quota),
        (header(1, 1, 3, 1, now), Reason::Round),
        (header(1, 6, 3, 1, now), Reason::Round),
        (header(1, 5, 3, 1, now + OFFSET + 1), Reason::Time),
        (header(1, 5, 3, 1, now - OFFSET - 1), Reason::Time),
    ];
    for (header, reason) in ignored {
        assert_eq!(judge(&header), Verdict::Ignore(reason));
    }
    let large = header(2, 5, 1, 1001, now);
    assert_eq!(judge(&large), Verdict::Reject(Reason::BodyTooLarge));
    assert_eq!(judge(&header(1, 5, 4, 500, now)), Verdict::Accept);
}

#[test]
fn nothing_is_taken_before_genesis_and_nothing_overflows() {
    let mut admission = Admission::new(rules());
    for now in [0, GENESIS - OFFSET - 1] {
        let early = header(1, 0, 1, 1, GENESIS);
        assert_eq!(admission.admit(&early, now), Verdict::Ignore(Reason::Round));
    }
    for now in [0, u64::MAX] {
        for round in [0, u64::MAX] {
            for created in [0, u64::MAX] {
                admission.admit(&header(1, round, 9, 1, created), now);
            }
        }
    }
}

#[test]
fn headers_are_limited_even_without_bodies() {
    let mut admission = Admission::new(rules());
    let taken = (0..1000)
        .filter(|sequence| {
            admission.admit(&header(1, 0, *sequence, 1, GENESIS), GENESIS) == Verdict::Accept
        })
        .count();
    assert_eq!(taken, 64);
}
