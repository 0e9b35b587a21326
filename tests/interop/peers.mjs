// Peers as a service of the tests: one JSON request a line on stdin, one JSON answer a line on
// stdout. {peer, verb, ...} -> {ok: true, ...} | {ok: false, error}.
import { createInterface } from 'node:readline'

const NAMES = { jose: './jose.mjs', 'did-jwt-vc': './did_jwt_vc.mjs', credo: './credo.mjs' }

// Nothing here may reach out: a peer that would fetch a context or a DID fails instead.
globalThis.fetch = async (url) => {
  throw new Error(`a peer tried to fetch ${url}`)
}

async function answer({ peer, verb, ...request }) {
  const module = await import(NAMES[peer])
  return module[verb](request)
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply
  try {
    reply = { ok: true, ...(await answer(JSON.parse(line))) }
  } catch (error) {
    reply = { ok: false, error: `${error?.name}: ${error?.message}` }
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`)
}
