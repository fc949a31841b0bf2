"""The probes with the official Python SDK: python probe.py SERVER SERVER IDLE_SECONDS"""

import asyncio
import contextlib
import json
import logging
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

ADA = "token-of-ada"
SESSION = "mcp-session-id"


class Somebody:
    """The SDK's client of somebody at a server; what it sends can be made to name another session."""

    def __init__(self, url, token, mode):
        self.url, self.token, self.mode = url, token, mode
        self.presents = self.id = self.answer = None
        self.status = 0

    async def __aenter__(self):
        self.exits = contextlib.AsyncExitStack()
        hooks = {"request": [self.sent], "response": [self.answered]}
        http = httpx2.AsyncClient(event_hooks=hooks, timeout=30)
        http = await self.exits.enter_async_context(http)
        # It is for the probes to say when a session ends.
        transport = streamable_http_client(self.url, http_client=http, terminate_on_close=False)
        client = Client(transport, mode=self.mode)
        self.client = await self.exits.enter_async_context(client)
        return self

    async def __aexit__(self, *why):
        return await self.exits.__aexit__(*why)

    async def sent(self, request):
        request.headers["authorization"] = f"Bearer {self.token}"
        # Not of the stream that the client listens on: it opens that when it likes.
        is_post = request.method == "POST"
        if self.presents is not None and is_post and SESSION in request.headers:
            request.headers[SESSION] = self.presents

    async def answered(self, response):
        if response.request.method == "POST":
            self.status = response.status_code
        self.id = self.id or response.headers.get(SESSION)

    async def call(self, tool, **arguments):
        """The HTTP status of a tool call."""
        try:
            self.answer = await self.client.call_tool(tool, arguments)
        except MCPError:
            if self.status < 400:
                raise
        return self.status

    def json(self):
        return json.loads(self.answer.content[0].text)


def told(probe, status):
    print(probe, status, flush=True)


async def sessions(first, second, idle):
    async with contextlib.AsyncExitStack() as clients:

        async def at(url, token):
            return await clients.enter_async_context(Somebody(url, token, "legacy"))

        ada = await at(first, ADA)
        told("own", await ada.call("whoami"))
        there = await at(second, "renewed-token-of-ada")
        there.presents = ada.id
        told("moved", await there.call("whoami"))

        bob = await at(second, "token-of-bob")
        bob.presents = ada.id
        told("hijacked", await bob.call("whoami"))

        headers = {"authorization": f"Bearer {ADA}", SESSION: ada.id}
        async with httpx2.AsyncClient() as http:
            await http.delete(first, headers=headers)
        told("zombie", await there.call("whoami"))

        phone, laptop = await at(first, ADA), await at(second, ADA)
        await laptop.call("forget_me")
        await laptop.call("forget_me_confirm", token=laptop.json()["token"])
        there.presents = phone.id
        told("forgotten", await there.call("whoami"))

        async with Somebody(first, ADA, "legacy") as left:
            await left.call("whoami")
        await asyncio.sleep(idle + 1)
        back = await at(second, ADA)
        back.presents = left.id
        told("idle", await back.call("whoami"))


async def handles(first, second):
    newer = "2026-07-28"
    async with (
        Somebody(first, ADA, newer) as ada,
        Somebody(second, ADA, newer) as there,
        Somebody(second, "token-of-bob", newer) as bob,
    ):
        await ada.call("cart_new")
        handle = ada.json()["handle"]
        await there.call("cart_put", handle=handle, thing="an engine")
        told("handle-moved", "refused" if there.answer.is_error else "served")
        await bob.call("cart_show", handle=handle)
        told("handle-hijacked", "refused" if bob.answer.is_error else "served")


async def main():
    first, second, idle = sys.argv[1:]
    # That a session has ended is what the probes are about.
    logging.disable(logging.CRITICAL)
    await handles(first, second)
    await sessions(first, second, float(idle))


asyncio.run(main())
