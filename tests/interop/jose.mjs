// jose knows JWS, not credentials: header, signature, and the claims registered for JWTs.
import { SignJWT, compactVerify, importJWK, jwtVerify } from 'jose'

// verify: {token, jwk, algorithm} -> {header, payload}
export async function verify({ token, jwk, algorithm }) {
  const key = await importJWK(jwk, algorithm)
  const { payload, protectedHeader } = await jwtVerify(token, key, { algorithms: [algorithm] })
  await compactVerify(token, key, { algorithms: [algorithm] })
  return { header: protectedHeader, payload }
}

// issue: {payload, header, jwk} -> {token}
export async function issue({ payload, header, jwk }) {
  const key = await importJWK(jwk, header.alg)
  return { token: await new SignJWT(payload).setProtectedHeader(header).sign(key) }
}
