// Preloaded into servers that bind every address of the machine and cannot be told otherwise: tests listen on loopback.
// @ts-check

import { Server } from "node:net";

const { listen } = Server.prototype;

/** @this {Server} */
Server.prototype.listen = function (/** @type {any} */ port, /** @type {any[]} */ ...rest) {
  const isPort = typeof port === "number" || (typeof port === "string" && /^\d+$/.test(port));
  const named = rest.some((argument) => typeof argument === "string");
  return isPort && !named
    ? listen.call(this, Number(port), "127.0.0.1", ...rest)
    : listen.call(this, port, ...rest);
};
