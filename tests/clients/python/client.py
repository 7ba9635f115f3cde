"""The official Python SDK, driven by a script: tests/src/clients/script.rs says what is read and what is printed."""

import asyncio
import json
import sys
import time

import mcp.client.session
from mcp import Client, MCPError

MODERN = "2026-07-28"


def say(**line):
    # One write a line: steps that run at once share the output.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def plain(value):
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def told(error):
    """An exception as it came over the wire, where it did."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return {"code": error.error.code, "message": error.error.message, "data": error.error.data}
    return {"code": None, "message": f"{type(error).__name__}: {error}", "data": None}


async def perform(client, step):
    match step["do"]:
        case "list_tools":
            tools, cursor = [], None
            while True:
                page = await client.list_tools(cursor=cursor)
                tools += [plain(tool) for tool in page.tools]
                if not (cursor := page.next_cursor):
                    return {"tools": tools}
        case "list_resources":
            resources, cursor = [], None
            while True:
                page = await client.list_resources(cursor=cursor)
                resources += [plain(resource) for resource in page.resources]
                if not (cursor := page.next_cursor):
                    break
            templates = (await client.list_resource_templates()).resource_templates
            return {"resources": resources, "templates": [plain(template) for template in templates]}
        case "read":
            return plain(await client.read_resource(step["uri"]))
        case "call":
            async def progress(progress, total, message):
                say(step=step["step"], progress=progress, total=total, message=message)

            return plain(
                await client.call_tool(
                    step["tool"],
                    step["arguments"],
                    read_timeout_seconds=step["seconds"],
                    progress_callback=progress if step["progress"] else None,
                )
            )
        case other:
            raise ValueError(f"this client cannot {other}")


async def run(client, step):
    if step["do"] == "together":
        await asyncio.gather(*(run(client, one) for one in step["steps"]))
        return
    started = time.monotonic()

    def done(**outcome):
        say(step=step["step"], seconds=time.monotonic() - started, **outcome)

    try:
        done(ok=True, result=await perform(client, step))
    except Exception as error:
        done(ok=False, error=told(error))


async def main():
    script = json.load(sys.stdin)
    era = script["era"]
    if era != MODERN:
        # The SDK has no setting for this: it offers the newest version that has a handshake.
        mcp.client.session.LATEST_HANDSHAKE_VERSION = era
    started = time.monotonic()
    try:
        async with Client(
            script["url"],
            mode="auto" if era == MODERN else "legacy",
            read_timeout_seconds=script["seconds"],
            cache=None,
        ) as client:
            version = client.protocol_version
            if version != era:
                raise RuntimeError(f"the server chose {version}, not {era}")
            info = client.server_info
            say(
                step="connect",
                ok=True,
                seconds=time.monotonic() - started,
                result={"protocolVersion": version, "serverInfo": info and plain(info)},
            )
            for step in script["steps"]:
                await run(client, step)
    except Exception as error:
        say(step="connect", ok=False, seconds=time.monotonic() - started, error=told(error))
        return 1
    return 0


sys.exit(asyncio.run(main()))
