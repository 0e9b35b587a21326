// did-jwt-vc: data model 1.1, for Ed25519, P-256 and secp256k1.
import { ES256KSigner, ES256Signer, EdDSASigner } from 'did-jwt'
import { createVerifiableCredentialJwt, verifyCredential } from 'did-jwt-vc'
import { getResolver } from 'key-did-resolver'

const SIGNERS = { EdDSA: EdDSASigner, ES256: ES256Signer, ES256K: ES256KSigner }
const { key } = getResolver()
const resolver = {
  resolve: (did) =>
    key(did, { id: did.slice('did:key:'.length), did, method: 'key' }, resolver, {
      accept: 'application/did+json',
    }),
}

// verify: {token} -> {issuer, credential}
export async function verify({ token }) {
  const { verified, issuer, verifiableCredential } = await verifyCredential(token, resolver)
  if (!verified) throw new Error('not verified')
  return { issuer, credential: verifiableCredential }
}

// issue: {payload, did, jwk, algorithm} -> {token}
export async function issue({ payload, did, jwk, algorithm }) {
  const secret = Buffer.from(jwk.d, 'base64url')
  const signer = SIGNERS[algorithm](secret)
  return { token: await createVerifiableCredentialJwt(payload, { did, signer, alg: algorithm }) }
}
