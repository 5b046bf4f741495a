'use strict';
// A broker's socket on an unmodified Socket.IO server, as far as a feed needs it: login and
// subscription answers, the events that it is told to send, and the ends that it is told to make.
//
// Arguments: "socket.io-2" or "socket.io-4", port, ping interval and time-out in milliseconds.
// POST /control takes {"do": …}: "state", "emit" (events: [name, text or {hex}]), "disconnect"
// (41), "close" (the engine's own end), "cut" (the connection breaks).

const http = require('http');

const [module_, port, pingInterval, pingTimeout] = process.argv.slice(2);
const PREFIX = '/apibinarymarketdata';

let subscriptions = 0;
const success = (result) => ({ type: 'success', code: 's-response-0010', description: 'ok', result });

function answer(method, path, body) {
  if (path === '/control') return control(body);
  if (method === 'POST' && path === `${PREFIX}/auth/login`) return success({ token: 'good', userID: 'TEST01' });
  if (path === `${PREFIX}/instruments/subscription`) {
    subscriptions += method === 'POST' ? body.instruments.length : -body.instruments.length;
    return success({ listQuotes: [] });
  }
  return null;
}

function sockets() {
  const all = io.sockets.sockets;
  return all instanceof Map ? [...all.values()] : Object.values(all);
}

function control(body) {
  for (const socket of sockets()) {
    if (body.do === 'emit') {
      for (const [name, data] of body.events) {
        socket.emit(name, data.hex === undefined ? data : Buffer.from(data.hex, 'hex'));
      }
    }
    if (body.do === 'disconnect') socket.disconnect(true);
    if (body.do === 'close') socket.conn.close();
    if (body.do === 'cut') socket.conn.transport.socket.terminate();
  }
  return { clients: sockets().length, subscriptions };
}

const server = http.createServer((request, response) => {
  let text = '';
  request.on('data', (part) => (text += part));
  request.on('end', () => {
    const found = answer(request.method, request.url, text ? JSON.parse(text) : {});
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(found));
  });
});

const options = {
  path: `${PREFIX}/socket.io`,
  pingInterval: Number(pingInterval),
  pingTimeout: Number(pingTimeout),
  allowEIO3: true,
  serveClient: false,
};
const io =
  module_ === 'socket.io-2' ? require(module_)(server, options) : new (require(module_).Server)(server, options);
io.use((socket, next) => {
  const query = socket.handshake.query;
  const isGood = query.token === 'good' && query.userID === 'TEST01';
  next(isGood ? undefined : new Error('Invalid Token'));
});
io.on('connection', (socket) => {
  socket.emit('joined', { type: 'success', code: 's-socket-0001', description: 'Socket joined successfully!' });
});
server.listen(Number(port), '127.0.0.1');
