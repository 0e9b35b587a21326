// credo-ts: data models 1.1 and 2.0. It brings no key store that runs without a native library,
// so keys lie in a map here and Node signs; everything else is credo's own.
import 'reflect-metadata'
import { EventEmitter } from 'node:events'
import { createPrivateKey, createPublicKey, randomBytes, sign, verify as check } from 'node:crypto'
import {
  Agent,
  ConsoleLogger,
  DidKey,
  InjectionSymbols,
  JsonTransformer,
  Kms,
  LogLevel,
  W3cCredential,
  W3cCredentialService,
  W3cV2Credential,
  W3cV2CredentialService,
  W3cV2JwtVerifiableCredential,
} from '@credo-ts/core'

const HASHES = { EdDSA: null, Ed25519: null, ES256: 'sha256', ES384: 'sha384', ES256K: 'sha256' }

class Keys {
  backend = 'node'
  #keys = new Map()

  isOperationSupported(_context, { operation }) {
    return ['sign', 'verify', 'importKey', 'randomBytes'].includes(operation)
  }
  async importKey(_context, { privateJwk }) {
    const keyId = privateJwk.kid ?? `key-${this.#keys.size}`
    this.#keys.set(keyId, privateJwk)
    return { keyId, publicJwk: await this.getPublicKey(_context, keyId) }
  }
  async getPublicKey(_context, keyId) {
    const jwk = this.#keys.get(keyId)
    if (!jwk) return null
    const { d, ...shared } = jwk
    return { ...shared, kid: keyId }
  }
  async sign(_context, { keyId, data, algorithm }) {
    const key = createPrivateKey({ key: this.#keys.get(keyId), format: 'jwk' })
    const signature = sign(HASHES[algorithm], data, { key, dsaEncoding: 'ieee-p1363' })
    return { signature: new Uint8Array(signature) }
  }
  async verify(_context, { key: { publicJwk }, data, signature, algorithm }) {
    const key = createPublicKey({ key: publicJwk, format: 'jwk' })
    const options = { key, dsaEncoding: 'ieee-p1363' }
    const verified = check(HASHES[algorithm], data, options, signature)
    return verified ? { verified, publicJwk } : { verified }
  }
  randomBytes(_context, { length }) {
    return new Uint8Array(randomBytes(length))
  }
}

class Storage {
  #records = []
  async save(_context, record) {
    this.#records.push(record)
  }
  async update() {}
  async delete() {}
  async deleteById() {}
  async getById() {
    throw new Error('not stored')
  }
  async getAll(_context, type) {
    return this.#records.filter((record) => record instanceof type)
  }
  async findByQuery(_context, type, query) {
    const did = query.$or?.find((part) => part.did)?.did
    const fits = (record) => did === undefined || record.did === did
    return this.#records.filter((record) => record instanceof type && fits(record))
  }
  supportsCursorPagination = false
}

const storage = {
  register: (manager) =>
    manager.registerInstance(InjectionSymbols.StorageService, new Storage()),
}

const agent = new Agent({
  config: { logger: new ConsoleLogger(LogLevel.off), allowInsecureHttpUrls: false },
  modules: { storage, keyManagement: new Kms.KeyManagementModule({ backends: [new Keys()] }) },
  dependencies: {
    FileSystem: class {},
    EventEmitterClass: EventEmitter,
    fetch: globalThis.fetch,
    WebSocketClass: class {},
  },
})

const MODELS = {
  1.1: { service: W3cCredentialService, model: W3cCredential, format: 'jwt_vc' },
  '2.0': { service: W3cV2CredentialService, model: W3cV2Credential, format: 'vc+jwt' },
}

// verify: {token, version} -> {}
export async function verify({ token, version }) {
  const service = agent.dependencyManager.resolve(MODELS[version].service)
  const { isValid, error, validations } = await service.verifyCredential(agent.context, {
    credential: version === '2.0' ? W3cV2JwtVerifiableCredential.fromCompact(token) : token,
    verifyCredentialStatus: false,
  })
  if (!isValid) {
    const failed = Object.entries(validations).filter(([, { isValid }]) => !isValid)
    const reasons = failed.map(([name, { error }]) => `${name}: ${error?.message}`)
    throw new Error([error?.message, ...reasons].filter(Boolean).join('; '))
  }
  return {}
}

// issue: {credential, did, jwk, algorithm, version} -> {token}
export async function issue({ credential, did, jwk, algorithm, version }) {
  const verificationMethod = `${did}#${did.slice('did:key:'.length)}`
  await imported(did, jwk)
  const { service, model, format } = MODELS[version]
  const signed = await agent.dependencyManager.resolve(service).signCredential(agent.context, {
    format,
    credential: JsonTransformer.fromJSON(credential, model),
    verificationMethod,
    alg: algorithm,
  })
  return { token: signed.encoded ?? signed.serializedJwt ?? signed.jwt.serializedJwt }
}

const known = new Set()
async function imported(did, jwk) {
  if (known.has(did)) return
  known.add(did)
  const { keyId } = await agent.kms.importKey({ privateJwk: jwk })
  const didDocument = DidKey.fromDid(did).didDocument
  const didDocumentRelativeKeyId = `#${did.slice('did:key:'.length)}`
  await agent.dids.import({
    did,
    didDocument,
    keys: [{ kmsKeyId: keyId, didDocumentRelativeKeyId }],
  })
}
