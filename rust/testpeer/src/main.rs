//! A libp2p peer that does as it is told, over lines of JSON: for interoperability tests and
//! attacks (`tests/peers.py`).
//!
//! With `--topic` it gossips as rlswarm does, with no limit but `--max-message`. With `--accept`
//! it hands every stream of a protocol to its driver, so that anything at all can be written.

mod forge;
mod peer;
mod streams;

use std::io::BufRead;

use libp2p::StreamProtocol;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What the command line says.
struct Options {
    topics: Vec<String>,
    accept: Vec<StreamProtocol>,
    max_message: usize,
    version: String,
}

/// Print one event.
#[allow(clippy::print_stdout)] // the driver reads it
fn say(event: &str, mut fields: Value) {
    fields["event"] = json!(event);
    println!("{fields}");
}

fn options() -> Options {
    let mut options = Options {
        topics: Vec::new(),
        accept: Vec::new(),
        max_message: 1 << 20,
        version: "/rlswarm/test/1".to_owned(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().expect("a value for each option");
        match name.as_str() {
            "--topic" => options.topics.push(value),
            "--accept" => options
                .accept
                .push(StreamProtocol::try_from_owned(value).expect("a protocol starts with /")),
            "--max-message" => options.max_message = value.parse().expect("a number"),
            "--version" => options.version = value,
            _ => panic!("unknown option {name}"),
        }
    }
    options
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let options = options();
    let (lines, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let command: Value = serde_json::from_str(&line).expect("a line of JSON");
            if lines.send(command).is_err() {
                return;
            }
        }
    });
    peer::run(options, commands).await;
}
