// BullMQ's side of the benchmark: one figure a run, one JSON line out.
//
//   node bench.js cycle --socket PATH --jobs 20000 --concurrency 100
//   node bench.js add-one | latency | delayed | recover [--lease-ms 5000] | hang
//
// The settings are BullMQ's defaults unless a figure says otherwise; the sub-commands and the
// fields they print are the same as those of ../ours.py.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const QUEUE = 'bench';
const CHUNK = 250; // the fastest of 100, 250, 500, 1000 and 5000 for addBulk
const WARM_UP = 2000; // jobs that go through another queue before a measurement
const HERE = fileURLToPath(import.meta.url);
const payload = JSON.parse(readFileSync(new URL('../payload.json', import.meta.url)));

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    socket: { type: 'string' },
    jobs: { type: 'string', default: '20000' },
    concurrency: { type: 'string', default: '100' },
    'lease-ms': { type: 'string' },
  },
});
const jobs = Number(values.jobs);
const concurrency = Number(values.concurrency);
const connection = { path: values.socket, maxRetriesPerRequest: null };
const redis = new Redis(connection);
const now = () => performance.timeOrigin + performance.now();

/** What Redis has spent and holds: CPU seconds and bytes. */
async function usage() {
  const info = await redis.info('cpu', 'memory');
  const number = (name) => Number(new RegExp(`^${name}:(.*)`, 'm').exec(info)[1]);
  return {
    cpu: number('used_cpu_user') + number('used_cpu_sys'),
    memory: number('used_memory'),
  };
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

function spread(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  return { p50_ms: percentile(sorted, 0.5), p99_ms: percentile(sorted, 0.99) };
}

async function addBulk(queue, count, opts, seen = () => {}) {
  for (let done = 0; done < count; done += CHUNK) {
    const size = Math.min(CHUNK, count - done);
    const chunk = Array.from({ length: size }, () => ({ name: 'issue-vc', data: payload, opts }));
    const before = now();
    seen(await queue.addBulk(chunk), before);
  }
}

/** A worker that is connected but does not take jobs before `run`. */
async function readyWorker(handler, options, name = QUEUE) {
  const worker = new Worker(name, handler, { connection, autorun: false, ...options });
  worker.on('error', (error) => { throw error; });
  await worker.waitUntilReady();
  return worker;
}

/** Resolves when `count` jobs have completed. */
function completions(worker, count) {
  let left = count;
  return new Promise((resolve) => {
    worker.on('completed', () => { if (--left === 0) resolve(); });
  });
}

/** Add and process some jobs of another queue; they stay, so memory is compared after them. */
async function warmUp() {
  const other = new Queue('warm-up', { connection });
  await addBulk(other, WARM_UP);
  const worker = await readyWorker(async () => ({ success: true }), { concurrency }, 'warm-up');
  const done = completions(worker, WARM_UP);
  worker.run();
  await done;
  await worker.close();
  await other.close();
}

async function countCompleted(queue, wanted) {
  const { completed } = await queue.getJobCounts('completed');
  if (completed !== wanted) throw new Error(`${completed} jobs completed instead of ${wanted}`);
}

async function cycle(queue) {
  await warmUp();
  const start = await usage();
  const addStarted = now();
  await addBulk(queue, jobs);
  const addSeconds = (now() - addStarted) / 1000;
  const added = await usage();
  const worker = await readyWorker(async () => ({ success: true }), { concurrency });
  const done = completions(worker, jobs);
  const idle = await usage();
  const started = now();
  worker.run();
  await done;
  const seconds = (now() - started) / 1000;
  const processed = await usage();
  await worker.close();
  await countCompleted(queue, jobs);
  return {
    add_per_s: jobs / addSeconds,
    process_per_s: jobs / seconds,
    cpu_add_us: ((added.cpu - start.cpu) / jobs) * 1e6,
    cpu_process_us: ((processed.cpu - idle.cpu) / jobs) * 1e6,
    waiting_bytes: (added.memory - start.memory) / jobs,
    completed_bytes: ((await usage()).memory - start.memory) / jobs,
  };
}

async function addOne(queue) {
  await warmUp();
  const started = now();
  for (let done = 0; done < jobs; done += 1) await queue.add('issue-vc', payload);
  return { add_one_per_s: jobs / ((now() - started) / 1000) };
}

async function latency(queue) {
  await warmUp();
  let arrived;
  const worker = await readyWorker(async () => { arrived(now()); }, { concurrency });
  worker.run();
  const samples = [];
  for (let done = 0; done < jobs; done += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 20); });
    const start = new Promise((resolve) => { arrived = resolve; });
    const before = now();
    await queue.add('issue-vc', payload);
    samples.push((await start) - before);
  }
  await worker.close();
  return spread(samples);
}

async function delayed(queue) {
  await warmUp();
  const due = new Map();
  const samples = [];
  const handler = async (job) => { samples.push(now() - due.get(job.id)); };
  const worker = await readyWorker(handler, { concurrency });
  const done = completions(worker, jobs);
  worker.run();
  await addBulk(queue, jobs, { delay: 1000 }, (added, before) => {
    for (const job of added) due.set(job.id, before + 1000);
  });
  await done;
  await worker.close();
  return spread(samples);
}

function leaseOptions() {
  const ms = values['lease-ms'] && Number(values['lease-ms']);
  return ms ? { lockDuration: ms, stalledInterval: ms } : {};
}

async function recover(queue) {
  const words = ['hang', '--socket', values.socket, '--concurrency', String(jobs)];
  if (values['lease-ms']) words.push('--lease-ms', values['lease-ms']);
  const victim = spawn(process.execPath, [HERE, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  await addBulk(queue, jobs);
  await new Promise((resolve) => { victim.stdout.once('data', resolve); });
  const worker = await readyWorker(async () => ({ success: true }), { concurrency, ...leaseOptions() });
  const done = completions(worker, jobs);
  worker.run();
  victim.kill('SIGKILL');
  const started = now();
  await done;
  const seconds = (now() - started) / 1000;
  await worker.close();
  await countCompleted(queue, jobs);
  return { recovery_s: seconds };
}

/** A worker that holds as many jobs as it has slots, says so, and never ends one. */
async function hang() {
  let held = 0;
  const handler = () => new Promise(() => {
    held += 1;
    if (held === concurrency) process.stdout.write('holding\n');
  });
  const worker = await readyWorker(handler, { concurrency, ...leaseOptions() });
  await worker.run();
}

const figures = { cycle, 'add-one': addOne, latency, delayed, recover, hang };
const queue = new Queue(QUEUE, { connection });
await queue.waitUntilReady();
const result = await figures[positionals[0]](queue);
process.stdout.write(`${JSON.stringify(result)}\n`);
await queue.close();
redis.disconnect();
