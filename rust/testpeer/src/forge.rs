//! Announcements with a right signature over whatever the driver wants stated.

use base64::prelude::{BASE64_STANDARD, Engine};
use rlswarm_proto::header::{Fields, Header};
use rlswarm_proto::identity::Identity;
use rlswarm_proto::kind::Kind;
use rlswarm_proto::wire;
use serde_json::{Value, json};

use crate::say;

/// Sign a header that states `raw` bytes for a stored body, and say the announcement.
pub(crate) fn forge(command: &Value) {
    let bytes = |key: &str| {
        let text = command[key].as_str().expect(key);
        BASE64_STANDARD.decode(text).expect("base64")
    };
    let number = |key: &str| command[key].as_u64().expect(key);
    let hash = |key: &str| <[u8; 32]>::try_from(bytes(key)).expect("32 bytes");
    let stored = bytes("stored");
    let fields = Fields {
        swarm: hash("swarm"),
        kind: Kind::Status,
        round: 0,
        lottery_root: [0; 32],
        stage: 0,
        slots: vec![],
        author: [0; 32],
        sequence: number("sequence"),
        created_at_ms: number("created_at_ms"),
        base: [0; 32],
        adapter: [0; 32],
        persona: String::new(),
        body_stored: u32::try_from(stored.len()).expect("fits"),
        body_raw: u32::try_from(number("raw")).expect("fits"),
        body_hash: *blake3::hash(&stored).as_bytes(),
    };
    let header = Header::sign(&Identity::from_seed(&hash("seed")), fields).expect("in range");
    let message = wire::encode_announcement(0, &header, Some(&stored));
    say("forged", json!({"data": BASE64_STANDARD.encode(message)}));
}
