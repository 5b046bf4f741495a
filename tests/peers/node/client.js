'use strict';
// A client of the simulated broker on an unmodified Socket.IO library or SDK: logs in, subscribes,
// receives, stops the market, and prints what it then has. The test compares that with the truth.
//
// Arguments: base URL, app key, secret key, flavour, "json" or "binary".

const http = require('http');
const zlib = require('zlib');

const [base, appKey, secretKey, flavour, format] = process.argv.slice(2);
const prefix = format === 'binary' ? '/apibinarymarketdata' : '/apimarketdata';
const CODE = format === 'binary' ? 1501 : 1502;
const INSTRUMENTS = [
  { exchangeSegment: 1, exchangeInstrumentID: 2885 },
  { exchangeSegment: 1, exchangeInstrumentID: 3045 },
];
const WANTED = 3;

setTimeout(() => fail('not done in time'), 45000).unref();

const report = { joined: false, transport: null, events: 0, last: {} };

function fail(what) {
  console.error(what, JSON.stringify(report));
  process.exit(1);
}

function call(method, path, body, token) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    if (token) headers.authorization = token;
    const request = http.request(base + path, { method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => (text += part));
      response.on('end', () =>
        response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`${path}: ${response.statusCode} ${text}`)),
      );
    });
    request.on('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function keep(id, values) {
  report.events += 1;
  report.last[id] = values;
  check();
}

function onJson(data) {
  const message = typeof data === 'string' ? JSON.parse(data) : data;
  const line = message.Touchline;
  const rows = (side) => side.map((row) => [row.Price, row.Size]);
  keep(`${message.ExchangeSegment}:${message.ExchangeInstrumentID}`, {
    ltp: line.LastTradedPrice,
    ltq: line.LastTradedQunatity,
    volume: line.TotalTradedQuantity,
    open: line.Open,
    high: line.High,
    low: line.Low,
    close: line.Close,
    bids: rows(message.Bids),
    asks: rows(message.Asks),
  });
}

// A run of messages; 1501 in the layout with 64-bit quantities.
function onBinary(data) {
  if (!Buffer.isBuffer(data) || data[0] > 1) fail(`no bare message: ${data && data.toString('hex').slice(0, 40)}`);
  let at = 0;
  while (at < data.length) {
    const isPacked = data[at] === 1;
    const size = data.readUInt16LE(at + 13);
    const start = at + (isPacked ? 17 : 15);
    const end = start + (isPacked ? data.readUInt16LE(at + 15) : size);
    const body = isPacked ? zlib.inflateRawSync(data.subarray(start, end)) : data.subarray(start, end);
    if (body.length !== size) fail(`a body of ${body.length} instead of ${size}`);
    if (data.readUInt16LE(at + 1) === 1501) {
      const long = (offset) => Number(body.readBigInt64LE(offset));
      keep(`${data.readInt16LE(at + 3)}:${data.readInt32LE(at + 5)}`, {
        ltp: body.readDoubleLE(92),
        ltq: long(100),
        volume: long(124),
        open: body.readDoubleLE(156),
        high: body.readDoubleLE(164),
        low: body.readDoubleLE(172),
        close: body.readDoubleLE(180),
        bids: [[body.readDoubleLE(48), long(40)]],
        asks: [[body.readDoubleLE(70), long(62)]],
      });
    }
    at = end;
  }
}

// Once enough came the market is stopped; what was on its way is awaited.
let isStopping = false;
let truth = null;
async function check() {
  const hasAll = INSTRUMENTS.every((i) => report.last[`${i.exchangeSegment}:${i.exchangeInstrumentID}`]);
  if (isStopping || !report.joined || !hasAll || report.events < WANTED) return;
  isStopping = true;
  await call('POST', '/__sim/mute', { on: true });
  truth = await call('GET', '/__sim/truth');
  // Answers and events travel apart: one may be late.
  setTimeout(done, 5000);
  // The change to a WebSocket may end later still.
  setInterval(finish, 20);
}

function finish() {
  const isThere = INSTRUMENTS.every((i) => {
    const have = report.last[`${i.exchangeSegment}:${i.exchangeInstrumentID}`];
    const now = truth.instruments.find((t) => t.segment === i.exchangeSegment && t.id === i.exchangeInstrumentID);
    return have.volume === now.volume && have.bids[0][1] === now.bid_size && have.asks[0][1] === now.ask_size;
  });
  if (isThere && (flavour.endsWith('-polling') || transport() === 'websocket')) done();
}

let transport = () => null;
function done() {
  report.transport = transport();
  console.log(JSON.stringify(report));
  process.exit(0);
}

async function plain(module, options) {
  const io = require(module);
  const { result } = await call('POST', `${prefix}/auth/login`, { appKey, secretKey, source: 'WebAPI' });
  const subscription = { instruments: INSTRUMENTS, xtsMessageCode: CODE };
  await call('POST', `${prefix}/instruments/subscription`, subscription, result.token);
  const query = { token: result.token, userID: result.userID, publishFormat: 'JSON', broadcastMode: 'Full' };
  const socket = io(base, { path: `${prefix}/socket.io`, reconnection: false, query, ...options });
  transport = () => socket.io.engine.transport.name;
  socket.on('joined', () => {
    report.joined = true;
    check();
  });
  for (const event of ['connect_error', 'error', 'disconnect']) {
    socket.on(event, (why) => fail(`${event}: ${why && (why.message || JSON.stringify(why))}`));
  }
  socket.on('1502-json-full', onJson);
  socket.on('xts-binary-packet', onBinary);
}

async function sdk() {
  // It talks while it works; the report is the last line.
  const { XtsMarketDataAPI, WS } = require('xts-marketdata-api');
  const api = new XtsMarketDataAPI(base + prefix);
  const login = await api.logIn({ appKey, secretKey });
  if (login.type !== 'success') fail(JSON.stringify(login));
  const ws = new WS(base + prefix);
  ws.init({ userID: login.result.userID, publishFormat: 'JSON', broadcastMode: 'Full', token: login.result.token });
  transport = () => ws.socketMD.socketMarketData.io.engine.transport.name;
  ws.onJoined(() => {
    report.joined = true;
    check();
  });
  ws.onError((why) => fail(`error: ${JSON.stringify(why)}`));
  ws.onDisconnect((why) => fail(`disconnect: ${JSON.stringify(why)}`));
  ws.onMarketDepthEvent(onJson);
  const answer = await api.subscription({ instruments: INSTRUMENTS, xtsMessageCode: CODE });
  if (answer.type !== 'success') fail(JSON.stringify(answer));
}

const FLAVOURS = {
  '2-default': () => plain('socket.io-client-2', {}),
  '2-polling': () => plain('socket.io-client-2', { transports: ['polling'] }),
  '2-websocket': () => plain('socket.io-client-2', { transports: ['websocket'] }),
  '4-default': () => plain('socket.io-client-4', {}),
  '4-polling': () => plain('socket.io-client-4', { transports: ['polling'] }),
  '4-websocket': () => plain('socket.io-client-4', { transports: ['websocket'] }),
  sdk,
};
FLAVOURS[flavour]().catch((error) => fail(error.stack));
