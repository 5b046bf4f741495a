"""A broker's socket on an unmodified python-socketio server, as far as a feed needs it: login and
subscription answers, the events that it is told to send, and the ends that it is told to make.

Arguments: port, ping interval and time-out in milliseconds. POST /control takes {"do": ...}: "state",
"emit" (events: [name, text or {"hex"}]), "disconnect" (41), "close" (the engine's own end), "cut" (the
connection breaks).
"""

import asyncio
import sys

import socketio
from aiohttp import web

PORT, INTERVAL, TIMEOUT = (int(text) for text in sys.argv[1:4])
PREFIX = "/apibinarymarketdata"

# Version 4 waits for bare coroutines, as was allowed before Python 3.11. The library stays as it is.
wait = asyncio.wait
asyncio.wait = lambda waiting, **options: wait([asyncio.ensure_future(one) for one in waiting], **options)

server = socketio.AsyncServer(async_mode="aiohttp", ping_interval=INTERVAL / 1000, ping_timeout=TIMEOUT / 1000)
requests = {}
subscriptions = 0


@server.event
async def connect(sid, environ, *_auth):
    query = environ["aiohttp.request"].query
    if query.get("token") != "good" or query.get("userID") != "TEST01":
        raise socketio.exceptions.ConnectionRefusedError("Invalid Token")
    requests[sid] = environ["aiohttp.request"]

    async def greet():
        message = {"type": "success", "code": "s-socket-0001", "description": "Socket joined successfully!"}
        await server.emit("joined", message, room=sid)

    server.start_background_task(greet)


@server.event
async def disconnect(sid, *_reason):
    requests.pop(sid, None)


def success(result):
    return web.json_response({"type": "success", "code": "s-response-0010", "description": "ok", "result": result})


async def login(_request):
    return success({"token": "good", "userID": "TEST01"})


async def subscription(request):
    global subscriptions
    count = len((await request.json())["instruments"])
    subscriptions += count if request.method == "POST" else -count
    return success({"listQuotes": []})


def engine_sid(sid):
    """From version 5 on the engine's sessions have names of their own."""
    find = getattr(server.manager, "eio_sid_from_sid", None)
    return find(sid, "/") if find else sid


async def control(request):
    body = await request.json()
    for sid in list(requests):
        if body["do"] == "emit":
            for name, data in body["events"]:
                await server.emit(name, bytes.fromhex(data["hex"]) if isinstance(data, dict) else data, room=sid)
        elif body["do"] == "disconnect":
            await server.disconnect(sid)
        elif body["do"] == "close":
            await server.eio.disconnect(engine_sid(sid))
        elif body["do"] == "cut":
            requests[sid].transport.abort()
    return web.json_response({"clients": len(requests), "subscriptions": subscriptions})


async def main():
    app = web.Application()
    app.router.add_post(PREFIX + "/auth/login", login)
    app.router.add_route("*", PREFIX + "/instruments/subscription", subscription)
    app.router.add_post("/control", control)
    server.attach(app, socketio_path=PREFIX.lstrip("/") + "/socket.io")
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    await asyncio.Event().wait()


asyncio.run(main())
