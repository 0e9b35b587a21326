// The other gateway of `bench.gateway`: Fastify before BullMQ, as a team would write it.
//
//   node server.js --socket PATH --port 3000
//
// POST /queue/vc-issuance/jobs   one job or an array of at most 1000
// GET  /queue/vc-issuance/job/:id
//
// It does what ours does for these requests: the body is validated by a JSON Schema (ajv, compiled;
// nothing coerced, nothing dropped), the job is in Redis before the answer, the answer has the same
// shape and headers and is written by a compiled serializer. It has no authentication, no limits
// per organization, no Idempotency-Key, no metrics and no check for members that occur twice.

import { parseArgs } from 'node:util';

import { Queue } from 'bullmq';
import fastify from 'fastify';
import { Redis } from 'ioredis';

const QUEUE = 'vc-issuance';
const ARRAY_MAX = 1000;
const BODY_MAX_BYTES = 5 * 1024 * 1024;

const { values } = parseArgs({
  options: { socket: { type: 'string' }, port: { type: 'string', default: '0' } },
});
const redis = new Redis({ path: values.socket, maxRetriesPerRequest: null });
const queue = new Queue(QUEUE, {
  connection: redis,
  defaultJobOptions: {
    attempts: 3,
    backoff: { type: 'exponential', delay: 2000 },
    removeOnComplete: { age: 24 * 3600, count: 10000 },
    removeOnFail: { age: 7 * 24 * 3600 },
  },
});

const text = { type: 'string', minLength: 1, maxLength: 256 };
const did = {
  type: 'string',
  maxLength: 2048,
  pattern: '^did:[a-z0-9]+:(?:(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})*:)*(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+$',
};
const payload = {
  type: 'object',
  additionalProperties: false,
  required: ['issuerDid', 'subjectDid', 'credentialType', 'claims', 'organizationId', 'userId'],
  properties: {
    issuerDid: did,
    subjectDid: did,
    credentialType: { type: 'string', minLength: 1, maxLength: 512, pattern: '^[^\\s]+$' },
    claims: { type: 'object', minProperties: 1 },
    expirationDate: { type: 'string', maxLength: 64 },
    organizationId: text,
    userId: text,
    callbackUrl: { type: 'string', maxLength: 2048, pattern: '^https?://' },
  },
};
const options = {
  type: 'object',
  additionalProperties: false,
  properties: {
    priority: { type: 'integer', minimum: 0, maximum: 10 },
    delay: { type: 'integer', minimum: 0 },
    attempts: { type: 'integer', minimum: 1, maximum: 1000 },
    jobId: { type: 'string', minLength: 1, maxLength: 128, pattern: '^[!-~]+$' },
  },
};
const submission = {
  type: 'object',
  additionalProperties: false,
  required: ['data'],
  properties: { name: text, data: payload, options },
};
// `data: {}` is JSON.stringify; `anyOf` of a receipt and an array would be slower, not faster.
const reply202 = { type: 'object', properties: { success: { type: 'boolean' }, data: {} } };

const app = fastify({
  bodyLimit: BODY_MAX_BYTES,
  keepAliveTimeout: 75_000,
  requestTimeout: 30_000,
  ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } },
});

app.addHook('onRequest', async (request, reply) => {
  reply.headers({
    'Cache-Control': 'no-store',
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'X-Request-Id': request.id,
  });
});

app.setErrorHandler((error, request, reply) => {
  const status = error.validation ? 422 : (error.statusCode ?? 500);
  reply.code(status).send({ success: false, status, detail: error.message, requestId: request.id });
});

const job = ({ name, data, options: opts }) => ({ name: name ?? QUEUE, data, opts });
const told = (added) => ({
  id: added.id,
  state: added.opts.delay ? 'delayed' : 'waiting',
  deduplicated: false,
  queue: QUEUE,
  name: added.name,
});

app.post(
  `/queue/${QUEUE}/jobs`,
  {
    schema: {
      body: {
        if: { type: 'array' }, // instead of `anyOf`, which tries both on every body
        then: { type: 'array', minItems: 1, maxItems: ARRAY_MAX, items: submission },
        else: submission,
      },
      response: { 202: reply202 },
    },
  },
  async (request, reply) => {
    reply.code(202);
    if (Array.isArray(request.body)) {
      const added = await queue.addBulk(request.body.map(job));
      return { success: true, data: added.map(told) };
    }
    const { name, data, opts } = job(request.body);
    const added = await queue.add(name, data, opts);
    reply.header('Location', `/queue/${QUEUE}/job/${encodeURIComponent(added.id)}`);
    return { success: true, data: told(added) };
  },
);

app.get(`/queue/${QUEUE}/job/:id`, async (request, reply) => {
  const found = await queue.getJob(request.params.id);
  if (!found) return reply.code(404).send({ success: false, status: 404, detail: 'No such job' });
  const state = await found.getState();
  return {
    success: true,
    data: {
      id: found.id,
      name: found.name,
      queue: QUEUE,
      state,
      data: found.data,
      opts: found.opts,
      progress: found.progress,
      attemptsMade: found.attemptsMade,
      timestamp: found.timestamp,
      processedOn: found.processedOn ?? null,
      finishedOn: found.finishedOn ?? null,
      returnvalue: found.returnvalue ?? null,
      failedReason: found.failedReason ?? null,
    },
  };
});

app.get('/readyz', async () => {
  await redis.ping();
  return { success: true };
});

await queue.waitUntilReady();
await app.listen({ host: '127.0.0.1', port: Number(values.port) });

process.on('SIGTERM', async () => {
  await app.close();
  await queue.close();
  redis.disconnect();
});
