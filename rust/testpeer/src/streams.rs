//! Streams whose every byte the driver decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine};
use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::say;

/// What becomes of one stream. The driver names those it opens; those it accepts get high numbers.
enum Act {
    Write(Vec<u8>, u64),
    Finish,
    /// Show so many bytes, or as many as come before the end.
    Read(usize),
}

/// All open streams.
pub(crate) struct Streams {
    control: Control,
    open: HashMap<u64, UnboundedSender<Act>>,
    accepted: UnboundedReceiver<(u64, UnboundedSender<Act>)>,
}

impl Streams {
    pub(crate) fn new(mut control: Control, protocols: &[StreamProtocol]) -> Self {
        let (sender, accepted) = unbounded_channel();
        let next = Arc::new(AtomicU64::new(1 << 32));
        for protocol in protocols {
            let mut incoming = control.accept(protocol.clone()).expect("named once");
            let (sender, next, protocol) = (sender.clone(), Arc::clone(&next), protocol.clone());
            tokio::spawn(async move {
                while let Some((peer, stream)) = incoming.next().await {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (acts, todo) = unbounded_channel();
                    if sender.send((number, acts)).is_err() {
                        return;
                    }
                    tokio::spawn(act(number, stream, todo));
                    let peer = peer.to_string();
                    let protocol = protocol.to_string();
                    say(
                        "incoming",
                        json!({"stream": number, "peer": peer, "protocol": protocol}),
                    );
                }
            });
        }
        Self {
            control,
            open: HashMap::new(),
            accepted,
        }
    }

    /// Do what concerns streams.
    pub(crate) fn obey(&mut self, command: &Value) {
        while let Ok((number, acts)) = self.accepted.try_recv() {
            self.open.insert(number, acts);
        }
        let number = command["stream"].as_u64().expect("a stream");
        let text = |key: &str| command[key].as_str().expect(key);
        match text("do") {
            "open" => {
                let peer: PeerId = text("peer").parse().expect("a peer");
                let protocol = StreamProtocol::try_from_owned(text("protocol").to_owned());
                let protocol = protocol.expect("a protocol starts with /");
                let mut control = self.control.clone();
                let (acts, todo) = unbounded_channel();
                self.open.insert(number, acts);
                tokio::spawn(async move {
                    match control.open_stream(peer, protocol).await {
                        Ok(stream) => {
                            say("opened", json!({"stream": number}));
                            act(number, stream, todo).await;
                        }
                        Err(error) => {
                            say(
                                "refused",
                                json!({"stream": number, "why": error.to_string()}),
                            );
                        }
                    }
                });
            }
            "write" => {
                let data = BASE64_STANDARD.decode(text("data")).expect("base64");
                let times = command["times"].as_u64().unwrap_or(1);
                self.tell(number, Act::Write(data, times));
            }
            "read" => {
                let most = command["most"].as_u64().expect("a number");
                self.tell(number, Act::Read(usize::try_from(most).expect("fits")));
            }
            "finish" => self.tell(number, Act::Finish),
            "drop" => {
                self.open.remove(&number);
            }
            other => panic!("unknown command {other}"),
        }
    }

    fn tell(&self, number: u64, act: Act) {
        // A stream that broke has said so.
        if let Some(acts) = self.open.get(&number) {
            let _ = acts.send(act);
        }
    }
}

async fn act(number: u64, stream: Stream, mut todo: UnboundedReceiver<Act>) {
    let (mut read, mut write) = stream.split();
    while let Some(act) = todo.recv().await {
        if let Err(error) = once(number, &mut read, &mut write, act).await {
            say(
                "broken",
                json!({"stream": number, "why": error.to_string()}),
            );
            return;
        }
    }
}

async fn once(
    number: u64,
    read: &mut ReadHalf<Stream>,
    write: &mut WriteHalf<Stream>,
    act: Act,
) -> std::io::Result<()> {
    match act {
        Act::Write(data, times) => {
            for _ in 0..times {
                write.write_all(&data).await?;
            }
            write.flush().await?;
            say("wrote", json!({"stream": number}));
        }
        Act::Finish => write.close().await?,
        Act::Read(most) => {
            let mut data = Vec::new();
            read.take(most as u64).read_to_end(&mut data).await?;
            let data = BASE64_STANDARD.encode(&data);
            say("data", json!({"stream": number, "data": data}));
        }
    }
    Ok(())
}
