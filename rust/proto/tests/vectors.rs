//! The test vectors in `tests/vectors/records.json`, which the Python tests check as well.

use rlswarm_proto::Hash;
use rlswarm_proto::body::{Record, open_body, seal};
use rlswarm_proto::header::{Fields, Header};
use rlswarm_proto::identity::Identity;
use rlswarm_proto::kind::Kind;
use rlswarm_proto::merkle::{self, Tree};
use rlswarm_proto::prf::{prf, uniforms};
use rlswarm_proto::verify::verify;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/records.json"))
        .expect("the vectors are JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().expect(key)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect(key)
}

fn number<T: TryFrom<u64>>(value: &Value, key: &str) -> T {
    let number = value[key].as_u64().expect(key);
    T::try_from(number).ok().expect(key)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    unhex(text(value, key))
}

fn hash(text: &str) -> Hash {
    unhex(text).try_into().expect("32 bytes")
}

fn hashes(values: &Value) -> Vec<Hash> {
    let values = values.as_array().expect("a list");
    values
        .iter()
        .map(|value| hash(value.as_str().expect("text")))
        .collect()
}

#[test]
fn identity_is_the_one_written_down() {
    let all = vectors();
    let key = &all["key"];
    let identity = Identity::from_seed(&hash(text(key, "seed")));
    assert_eq!(identity.public_key(), hash(text(key, "public_key")));
    assert_eq!(
        rlswarm_proto::identity::peer_id(&identity.public_key()),
        text(key, "peer_id")
    );
    assert_eq!(identity.to_pem().unwrap().as_str(), text(key, "pem"));
    let read = Identity::from_pem(text(key, "pem")).unwrap();
    assert_eq!(read.public_key(), identity.public_key());
    assert!(Identity::from_pem("nonsense").is_err());
}

#[test]
fn headers_encode_hash_and_sign_as_written_down() {
    let all = vectors();
    let identity = Identity::from_seed(&hash(text(&all["key"], "seed")));
    for case in list(&all, "headers") {
        let fields = &case["fields"];
        let slots = list(fields, "slots").iter();
        let Record { header, stored } = seal(
            &identity,
            Fields {
                swarm: hash(text(fields, "swarm")),
                kind: Kind::try_from(number::<u8>(fields, "kind")).unwrap(),
                round: number(fields, "round"),
                lottery_root: hash(text(fields, "lottery_root")),
                stage: number(fields, "stage"),
                slots: slots
                    .map(|slot| u16::try_from(slot.as_u64().unwrap()).unwrap())
                    .collect(),
                author: [0; 32],
                sequence: number(fields, "sequence"),
                created_at_ms: number(fields, "created_at_ms"),
                base: hash(text(fields, "base")),
                adapter: hash(text(fields, "adapter")),
                persona: text(fields, "persona").to_owned(),
                body_stored: 0,
                body_raw: 0,
                body_hash: [0; 32],
            },
            &bytes(case, "body"),
        )
        .unwrap();
        let name = text(case, "name");
        assert_eq!(*stored, *bytes(case, "stored"), "{name}");
        assert_eq!(header.encoded(), bytes(case, "encoded"), "{name}");
        assert_eq!(*header.hash(), hash(text(case, "hash")), "{name}");
        assert_eq!(header.fields().author, hash(text(case, "author")), "{name}");
        assert_eq!(Header::decode(header.encoded()).unwrap(), header, "{name}");
        verify(&header).unwrap();
        let raw = open_body(&header, &stored, 1 << 20).unwrap();
        assert_eq!(raw, bytes(case, "body"), "{name}");
    }
}

#[test]
fn malformed_headers_are_refused() {
    let all = vectors();
    let swarm = hash(text(&all, "swarm"));
    for case in list(&all, "malformed") {
        let accepted = Header::decode(&bytes(case, "encoded"))
            .is_ok_and(|header| header.fields().swarm == swarm && verify(&header).is_ok());
        assert!(!accepted, "{}", text(case, "name"));
    }
}

#[test]
fn trees_are_those_of_openzeppelin() {
    for case in list(&vectors(), "merkle") {
        let name = text(case, "name");
        let leaves = hashes(&case["leaves"]);
        let words = list(case, "words").iter();
        let computed: Vec<Hash> = words
            .map(|words| merkle::leaf(&unhex(words.as_str().unwrap())))
            .collect();
        assert_eq!(computed, leaves, "{name}");
        let tree = Tree::new(&leaves);
        assert_eq!(tree.root(), hash(text(case, "root")), "{name}");
        for (leaf, proof) in leaves.iter().zip(list(case, "proofs")) {
            assert_eq!(tree.proof(leaf), Some(hashes(proof)), "{name}");
        }
    }
}

#[test]
fn randomness_is_the_one_written_down() {
    let all = vectors();
    for case in list(&all, "prf") {
        let parts: Vec<Vec<u8>> = list(case, "parts")
            .iter()
            .map(|part| unhex(part.as_str().unwrap()))
            .collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        assert_eq!(prf(text(case, "domain"), &parts), hash(text(case, "hash")));
    }
    for case in list(&all, "uniforms") {
        let key = hash(text(case, "key"));
        let numbers = uniforms(&key, number(case, "sample"), 5);
        let written: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(written, bytes(case, "bytes"));
        let longer = uniforms(&key, number(case, "sample"), 1000);
        assert_eq!(longer[..5], numbers);
        assert!(longer.iter().all(|n| *n > 0.0 && *n < 1.0));
    }
}
