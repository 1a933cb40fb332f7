//! Properties that hold for every input: codecs, bodies, signatures, trees, stores.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use rlswarm_proto::body::{Record, check_stored, open_body, seal};
use rlswarm_proto::header::{Fields, Header, MAX_HEADER};
use rlswarm_proto::identity::Identity;
use rlswarm_proto::kind::Kind;
use rlswarm_proto::merkle::{self, Tree};
use rlswarm_proto::store::{Access, Capacity, Store};
use rlswarm_proto::verify::{verify, verify_batch};
use rlswarm_proto::wire::{self, Request, Response};

fn fields() -> impl Strategy<Value = Fields> {
    (
        (any::<[u8; 32]>(), 1_u8..=9, any::<u64>(), any::<u8>()),
        btree_set(any::<u16>(), 0..=256),
        (any::<u64>(), any::<u64>(), any::<[u8; 32]>()),
        "[a-zäöü ]{0,32}",
    )
        .prop_map(
            |((hash, kind, round, stage), slots, (sequence, created_at_ms, base), persona)| {
                Fields {
                    swarm: hash,
                    kind: Kind::try_from(kind).expect("a kind"),
                    round,
                    lottery_root: base,
                    stage,
                    slots: slots.into_iter().collect(),
                    author: [0; 32],
                    sequence,
                    created_at_ms,
                    base,
                    adapter: hash,
                    persona,
                    body_stored: 0,
                    body_raw: 0,
                    body_hash: [0; 32],
                }
            },
        )
}

fn record() -> impl Strategy<Value = Record> {
    (fields(), any::<[u8; 32]>(), vec(any::<u8>(), 0..2000)).prop_map(|(fields, seed, body)| {
        seal(&Identity::from_seed(&seed), fields, &body).expect("fields in range")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sealed_record_survives_the_wire(record in record()) {
        let header = Header::decode(record.header.encoded()).unwrap();
        prop_assert_eq!(&header, &record.header);
        prop_assert!(header.encoded().len() <= MAX_HEADER);
        prop_assert!(verify(&header).is_ok());
        let inline = wire::is_inline(&header).then(|| record.stored.clone());
        let bytes = wire::encode_announcement(3, &header, inline.as_deref()).into();
        let read = wire::decode_announcement(&bytes).unwrap();
        prop_assert_eq!(&read.header, &header);
        prop_assert_eq!(read.body, inline);
        let known = wire::decode_known(&wire::encode_known(&header, Some(&record.stored))).unwrap();
        prop_assert_eq!(known.body, Some(record.stored.clone()));
        let reveal = wire::encode_reveal(0, header.hash(), &record.stored).into();
        prop_assert_eq!(wire::decode_reveal(&reveal).unwrap().body, record.stored);
    }

    #[test]
    fn any_change_is_noticed(record in record(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut encoded = record.header.encoded().to_vec();
        let at = at.index(encoded.len());
        encoded[at] ^= 1_u8 << bit;
        if let Ok(header) = Header::decode(&encoded) {
            prop_assert_eq!(header.encoded(), &encoded[..]);
            prop_assert!(verify(&header).is_err());
        }
        let mut stored = record.stored.to_vec();
        let at = at % stored.len();
        stored[at] ^= 1_u8 << bit;
        prop_assert!(check_stored(&record.header, &stored).is_err());
        prop_assert!(open_body(&record.header, &stored, usize::MAX).is_err());
    }

    #[test]
    fn decoders_take_any_bytes(bytes in vec(any::<u8>(), 0..3000), tag in 0_u8..8) {
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encoded(), &bytes[..]);
        }
        let mut tagged = bytes;
        if let Some(first) = tagged.first_mut() {
            *first = tag;
        }
        let tagged = Bytes::from(tagged);
        let _ = wire::decode_announcement(&tagged);
        let _ = wire::decode_known(&tagged);
        let _ = wire::decode_reveal(&tagged);
        if let Ok(request) = Request::decode(&tagged) {
            prop_assert_eq!(request.encode(), tagged.clone());
        }
        if let Ok(response) = Response::decode(&tagged) {
            prop_assert_eq!(response.encode(), tagged);
        }
    }

    #[test]
    fn requests_and_responses_survive(hashes in vec(any::<[u8; 32]>(), 0..64), n in any::<u32>()) {
        let request = Request::Headers(hashes.clone());
        prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        let request = Request::Body { record: [7; 32], offset: n };
        prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        let records = hashes.iter().map(|hash| Bytes::copy_from_slice(hash)).collect();
        for response in [Response::Hashes(hashes), Response::Records(records), Response::Sealed] {
            let bytes = response.encode().into();
            prop_assert_eq!(Response::decode(&bytes).unwrap(), response);
        }
    }

    #[test]
    fn a_batch_judges_like_each_alone(records in vec(record(), 1..12), wrong in any::<u16>()) {
        let headers: Vec<Header> = records
            .iter()
            .enumerate()
            .map(|(index, record)| {
                let mut encoded = record.header.encoded().to_vec();
                if wrong >> index & 1 == 1 {
                    *encoded.last_mut().expect("not empty") ^= 1;
                }
                Header::decode(&encoded).expect("only the signature changed")
            })
            .collect();
        let together = verify_batch(&headers.iter().collect::<Vec<_>>());
        let alone: Vec<bool> = headers.iter().map(|header| verify(header).is_ok()).collect();
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn a_body_is_opened_within_its_bounds_only(record in record(), max in 0_usize..3000) {
        let raw = record.header.fields().body_raw as usize;
        prop_assert_eq!(open_body(&record.header, &record.stored, max).is_ok(), raw <= max);
    }

    #[test]
    fn every_leaf_is_proven_and_no_other(
        leaves in btree_set(any::<[u8; 32]>(), 1..40),
        other in any::<[u8; 32]>(),
        turn in any::<prop::sample::Index>(),
    ) {
        let mut leaves: Vec<_> = leaves.into_iter().collect();
        let root = Tree::new(&leaves).root();
        let turn = turn.index(leaves.len());
        leaves.rotate_left(turn);
        let tree = Tree::new(&leaves);
        prop_assert_eq!(tree.root(), root);
        for leaf in &leaves {
            let proof = tree.proof(leaf).unwrap();
            prop_assert!(merkle::verify(&root, leaf, &proof));
            prop_assert!(!merkle::verify(&root, &other, &proof));
        }
        prop_assert_eq!(tree.proof(&other), None);
    }

    #[test]
    fn a_store_stays_within_its_capacity(records in vec(record(), 1..30), headers in 1_usize..10) {
        let capacity = Capacity { headers, bytes: 5000 };
        let mut store: Store<u8> = Store::new(capacity);
        for record in records {
            let hash = *record.header.hash();
            let alone = record.stored.len() > capacity.bytes;
            store.insert(Arc::new(record.header));
            store.put_body(&hash, record.stored);
            store.add_provider(&hash, 1);
            prop_assert!(store.len() <= capacity.headers);
            prop_assert!(store.bytes() <= capacity.bytes || alone);
            prop_assert_eq!(store.access(&hash), Access::Sealed);
        }
        store.forget_before(u64::MAX);
        prop_assert!(store.len() <= 1);
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let identity = Identity::from_seed(&[1; 32]);
    let honest = seal(&identity, plain(), &vec![0; 1 << 20]).unwrap();
    // The same frame under a header that understates it.
    let mut fields = honest.header.fields().clone();
    fields.body_raw = 1000;
    let header = Header::sign(&identity, fields).unwrap();
    assert!(open_body(&header, &honest.stored, 1 << 30).is_err());
    assert!(open_body(&honest.header, &honest.stored, 1 << 19).is_err());
    assert!(open_body(&honest.header, &honest.stored, 1 << 20).is_ok());
}

fn plain() -> Fields {
    Fields {
        swarm: [1; 32],
        kind: Kind::Status,
        round: 0,
        lottery_root: [0; 32],
        stage: 0,
        slots: vec![],
        author: [0; 32],
        sequence: 0,
        created_at_ms: 0,
        base: [0; 32],
        adapter: [0; 32],
        persona: String::new(),
        body_stored: 0,
        body_raw: 0,
        body_hash: [0; 32],
    }
}

#[test]
fn fields_out_of_range_are_refused() {
    let identity = Identity::from_seed(&[1; 32]);
    let bad = [
        Fields {
            slots: vec![1, 1],
            ..plain()
        },
        Fields {
            slots: vec![2, 1],
            ..plain()
        },
        Fields {
            slots: (0..257).collect(),
            ..plain()
        },
        Fields {
            persona: "p".repeat(65),
            ..plain()
        },
        Fields {
            persona: "\u{1b}[31m".to_owned(),
            ..plain()
        },
    ];
    for fields in bad {
        assert!(Header::sign(&identity, fields).is_err());
    }
}
