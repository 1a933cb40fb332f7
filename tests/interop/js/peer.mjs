// A js-libp2p peer that is driven by JSON lines: see tests/peers.py.
//
// --sign none: unsigned messages named by topic and bytes, as rlswarm does.
// --sign strict: everything as a js-libp2p user gets it by default, for the bench.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'

import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { blake3 } from '@noble/hashes/blake3.js'
import { createLibp2p } from 'libp2p'

const { values: options } = parseArgs({
  options: {
    topic: { type: 'string', multiple: true },
    sign: { type: 'string', default: 'none' },
    kad: { type: 'string' },
    version: { type: 'string' },
    quiet: { type: 'boolean', default: false }
  }
})

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

function messageId ({ topic, data }) {
  const name = Buffer.from(topic)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(name.length))
  return blake3(Buffer.concat([length, name, data])).slice(0, 20)
}

const unsigned = { globalSignaturePolicy: 'StrictNoSign', msgIdFn: messageId }
const services = {
  identify: identify(),
  ping: ping(),
  pubsub: gossipsub(options.sign === 'none' ? unsigned : {})
}
if (options.kad) {
  services.dht = kadDHT({
    protocol: options.kad, clientMode: false, peerInfoMapper: passthroughMapper
  })
}
const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services
})
// A node of a swarm names it in its protocol version, for which this library has no setting.
if (options.version) node.services.identify.host.protocolVersion = options.version
const pubsub = node.services.pubsub

let received = 0
pubsub.addEventListener('gossipsub:message', ({ detail: { msgId, msg } }) => {
  received += 1
  if (!options.quiet) {
    say({
      event: 'message',
      topic: msg.topic,
      id: Buffer.from(msgId, 'base64').toString('hex'),
      data: Buffer.from(msg.data).toString('base64')
    })
  }
})
node.addEventListener('peer:identify', ({ detail }) => {
  say({ event: 'identified', peer: detail.peerId.toString(), agent: detail.agentVersion })
})
for (const topic of options.topic) pubsub.subscribe(topic)
say({
  event: 'ready',
  peer: node.peerId.toString(),
  addresses: node.getMultiaddrs().map((address) => address.toString())
})

// As many as the connection takes, then a pause: publish says nothing of what it drops.
async function flood ({ topic, size, count }) {
  const data = Buffer.alloc(size, 7)
  for (let number = 0; number < count; number++) {
    data.writeUInt32LE(number)
    await pubsub.publish(topic, Uint8Array.from(data))
  }
  say({ event: 'flooded', count })
}

const commands = {
  dial: ({ address }) => node.dial(multiaddr(address)),
  publish: ({ topic, data }) => pubsub.publish(topic, Buffer.from(data, 'base64')),
  subscribers: ({ topic }) => say({ event: 'subscribers', count: pubsub.getSubscribers(topic).length }),
  flood,
  count: () => say({ event: 'count', count: received }),
  async find ({ peer }) {
    const { peerIdFromString } = await import('@libp2p/peer-id')
    const found = await node.peerRouting.findPeer(peerIdFromString(peer))
    say({ event: 'found', addresses: found.multiaddrs.map((address) => address.toString()) })
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    await commands[command.do](command)
  } catch (error) {
    say({ event: 'failed', do: command.do, why: String(error) })
  }
}
await node.stop()
process.exit(0)
