// uWebSockets as a market-data server, for the comparison: its own topics, natively fanned out.
//
// Ticks come over a TCP connection of their own, which is its standard input, as u16 topic, u16 length
// (little-endian), payload. They are published from that connection's reader and not from a WebSocket's message
// handler: within one, each delivery would become a write of its own, and uWebSockets fifteen times slower than it is.
//
// Prints one line of JSON with its port when it listens. Ends with the feed.
'use strict';
const net = require('net');
const uWS = require('uwebsockets');

const topics = Array.from({ length: 10000 }, (_, i) => 'LG' + String(i).padStart(5, '0'));

const app = uWS.App();
app.ws('/*', {
  compression: uWS.DISABLED,
  idleTimeout: 0,
  sendPingsAutomatically: false,
  maxPayloadLength: 1 << 20,
  // Nothing is dropped, nobody disconnected.
  maxBackpressure: 512 << 20,
  closeOnBackpressureLimit: false,
  message: (ws, message) => {
    const asked = JSON.parse(Buffer.from(message).toString());
    if (asked.action === 'subscribe') {
      for (const { symbol } of asked.symbols) ws.subscribe(symbol);
      ws.send('{"type":"subscribe","status":"success"}');
    }
  },
});

const feed = new net.Socket({ fd: 0, readable: true });
let rest = null;
feed.on('data', (piece) => {
  const bytes = rest ? Buffer.concat([rest, piece]) : piece;
  let at = 0;
  while (bytes.length - at >= 4) {
    const end = at + 4 + bytes.readUInt16LE(at + 2);
    if (end > bytes.length) break;
    app.publish(topics[bytes.readUInt16LE(at)], bytes.subarray(at + 4, end), false, false);
    at = end;
  }
  rest = at < bytes.length ? bytes.subarray(at) : null;
});
for (const end of ['end', 'error']) feed.on(end, () => process.exit(0));

app.listen('127.0.0.1', 0, (listening) => {
  if (!listening) process.exit(1);
  console.log(JSON.stringify({ consumers: uWS.us_socket_local_port(listening) }));
});
