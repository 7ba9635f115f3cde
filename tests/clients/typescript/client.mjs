// The official TypeScript SDK, driven by a script: tests/src/clients/script.rs says what is read and what is printed.
// @ts-check

import { text } from "node:stream/consumers";
import { Client, ProtocolError, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const MODERN = "2026-07-28";

/** @param {object} line */
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const since = (/** @type {number} */ started) => (performance.now() - started) / 1000;

/** An error as it came over the wire, where it did. */
function told(/** @type {any} */ error) {
  if (error instanceof ProtocolError) {
    return { code: error.code, message: error.message, data: error.data ?? null };
  }
  const cause = error?.cause ? ` (${error.cause})` : "";
  return { code: null, message: `${error}${cause}`, data: null };
}

async function perform(/** @type {Client} */ client, /** @type {any} */ step) {
  const options = { timeout: step.seconds * 1000 };
  switch (step.do) {
    case "list_tools": {
      // Without a cursor the SDK fetches every page.
      const { tools } = await client.listTools(undefined, { ...options, cacheMode: "refresh" });
      return { tools };
    }
    case "list_resources": {
      const { resources } = await client.listResources(undefined, { ...options, cacheMode: "refresh" });
      const { resourceTemplates } = await client.listResourceTemplates(undefined, { ...options, cacheMode: "refresh" });
      return { resources, templates: resourceTemplates };
    }
    case "read":
      return client.readResource({ uri: step.uri }, { ...options, cacheMode: "refresh" });
    case "call": {
      const onprogress = (/** @type {object} */ progress) => say({ step: step.step, ...progress });
      return client.callTool(
        { name: step.tool, arguments: step.arguments },
        step.progress ? { ...options, onprogress } : options,
      );
    }
    default:
      throw new Error(`this client cannot ${step.do}`);
  }
}

async function run(/** @type {Client} */ client, /** @type {any} */ step) {
  if (step.do === "together") {
    await Promise.all(step.steps.map((/** @type {any} */ one) => run(client, one)));
    return;
  }
  const started = performance.now();
  try {
    const result = await perform(client, step);
    say({ step: step.step, ok: true, seconds: since(started), result });
  } catch (error) {
    say({ step: step.step, ok: false, seconds: since(started), error: told(error) });
  }
}

const script = JSON.parse(await text(process.stdin));
const client = new Client(
  { name: "mcp-system-tests", version: "0.0.0" },
  script.era === MODERN
    ? { versionNegotiation: { mode: { pin: MODERN } } }
    : { supportedProtocolVersions: [script.era] },
);
const transport = new StreamableHTTPClientTransport(new URL(script.url));
const started = performance.now();
try {
  await client.connect(transport, { timeout: script.seconds * 1000 });
  const result = { protocolVersion: client.getNegotiatedProtocolVersion(), serverInfo: client.getServerVersion() };
  if (result.protocolVersion !== script.era) {
    throw new Error(`the server chose ${result.protocolVersion}, not ${script.era}`);
  }
  say({ step: "connect", ok: true, seconds: since(started), result });
} catch (error) {
  say({ step: "connect", ok: false, seconds: since(started), error: told(error) });
  process.exit(1);
}
for (const step of script.steps) {
  await run(client, step);
}
await client.close();
