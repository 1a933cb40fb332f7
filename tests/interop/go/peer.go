// A go-libp2p peer that is driven by JSON lines: see tests/peers.py.
//
// -sign none: unsigned messages named by topic and bytes, as rlswarm does.
// -sign strict: everything as a go-libp2p user gets it by default, for the bench.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"lukechampine.com/blake3"
)

// One line in.
type command struct {
	Do      string `json:"do"`
	Address string `json:"address"`
	Topic   string `json:"topic"`
	Data    []byte `json:"data"`
	Size    int    `json:"size"`
	Count   int    `json:"count"`
}

type fields map[string]any

var output sync.Mutex

func say(what string, more fields) {
	more["event"] = what
	output.Lock()
	defer output.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(more)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func messageID(message *pb.Message) string {
	topic := message.GetTopic()
	named := binary.LittleEndian.AppendUint64(nil, uint64(len(topic)))
	named = append(append(named, topic...), message.GetData()...)
	digest := blake3.Sum256(named)
	return string(digest[:20])
}

func addresses(node host.Host) []string {
	all, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: node.ID(), Addrs: node.Addrs()})
	check(err)
	texts := []string{}
	for _, address := range all {
		texts = append(texts, address.String())
	}
	return texts
}

func identified(node host.Host) {
	events, err := node.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	check(err)
	for one := range events.Out() {
		seen := one.(event.EvtPeerIdentificationCompleted)
		say("identified", fields{"peer": seen.Peer.String(), "agent": seen.AgentVersion})
	}
}

func main() {
	topics := flag.String("topics", "", "comma-separated")
	sign := flag.String("sign", "none", "none or strict")
	version := flag.String("version", "ipfs/0.1.0", "the protocol version that identify tells")
	quiet := flag.Bool("quiet", false, "count messages without showing them")
	flag.Parse()
	ctx := context.Background()

	node, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.ProtocolVersion(*version),
		libp2p.DisableRelay())
	check(err)
	go identified(node)
	settings := []pubsub.Option{}
	if *sign == "none" {
		settings = append(settings,
			pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
			pubsub.WithNoAuthor(),
			pubsub.WithMessageIdFn(messageID))
	}
	router, err := pubsub.NewGossipSub(ctx, node, settings...)
	check(err)

	var received atomic.Int64
	joined := map[string]*pubsub.Topic{}
	for _, name := range strings.Split(*topics, ",") {
		topic, err := router.Join(name)
		check(err)
		joined[name] = topic
		subscription, err := topic.Subscribe(pubsub.WithBufferSize(1 << 16))
		check(err)
		go func() {
			for {
				message, err := subscription.Next(ctx)
				check(err)
				if message.ReceivedFrom == node.ID() {
					continue
				}
				received.Add(1)
				if !*quiet {
					id := hex.EncodeToString([]byte(message.ID))
					say("message", fields{"topic": name, "id": id, "data": message.GetData()})
				}
			}
		}()
	}
	say("ready", fields{"peer": node.ID().String(), "addresses": addresses(node)})

	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var todo command
		check(json.Unmarshal(line, &todo))
		switch todo.Do {
		case "dial":
			info, err := peer.AddrInfoFromString(todo.Address)
			check(err)
			if err := node.Connect(ctx, *info); err != nil {
				say("failed", fields{"do": "dial", "why": err.Error()})
			}
		case "publish":
			check(joined[todo.Topic].Publish(ctx, todo.Data))
		case "subscribers":
			say("subscribers", fields{"count": len(router.ListPeers(todo.Topic))})
		case "flood":
			for number := range todo.Count {
				data := make([]byte, todo.Size)
				binary.LittleEndian.PutUint32(data, uint32(number))
				check(joined[todo.Topic].Publish(ctx, data))
			}
			say("flooded", fields{"count": todo.Count})
		case "count":
			say("count", fields{"count": received.Load()})
		}
	}
}
