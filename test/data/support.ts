/** What several tests of `data/` need: folders, a file server, tiny archives, and the contract of data sets. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tar from 'tar-stream';
import { expect, it, onTestFinished } from 'vitest';
import { sizeOf } from '../../src/core/tensor.ts';
import type { Dataset } from '../../src/data/dataset.ts';

/** A folder that is removed when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'graft-data-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export function sha256(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex');
}

export interface Served {
  /** Address without a slash at its end. */
  readonly url: string;
  /** The Range header of each request so far, or null. */
  readonly ranges: (string | null)[];
  readonly requests: IncomingMessage[];
}

/** An HTTP server for the length of a test. `count` says which request this is, from 1. */
export async function serve(
  answer: (request: IncomingMessage, response: ServerResponse, count: number) => void,
): Promise<Served> {
  const ranges: (string | null)[] = [];
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    ranges.push(request.headers.range ?? null);
    answer(request, response, requests.length);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ranges, requests };
}

export interface Sending {
  readonly etag?: string;
  /** Break the connection after this many bytes of the body. */
  readonly breakAfter?: number;
  /** Answer as a server that knows no ranges. */
  readonly ignoreRange?: boolean;
}

/** Sends a file as a web server does, ranges and If-Range included. */
export function send(
  request: IncomingMessage,
  response: ServerResponse,
  content: Uint8Array,
  { etag = '"v1"', breakAfter, ignoreRange = false }: Sending = {},
): void {
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
  const condition = request.headers['if-range'];
  const partial = range !== null && !ignoreRange && (condition === undefined || condition === etag);
  const start = partial ? Number(range[1]) : 0;
  if (partial && start >= content.length) {
    response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
    return;
  }
  const body = content.subarray(start);
  response.writeHead(partial ? 206 : 200, {
    etag,
    'content-length': body.length,
    ...(partial && { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }),
  });
  if (breakAfter === undefined) response.end(body);
  else response.write(body.subarray(0, breakAfter), () => setTimeout(() => response.destroy(), 20));
}

/** Bytes that do not repeat soon, so that a wrong splice shows. */
export function noise(length: number, start = 1): Uint8Array {
  let state = start;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

/** A .tar.gz of these files. */
export async function archiveOf(files: Readonly<Record<string, Uint8Array | string>>): Promise<Buffer> {
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) pack.entry({ name }, Buffer.from(content));
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(chunk as Buffer);
  return gzipSync(Buffer.concat(chunks));
}

/** What holds for every data set. `make` returns one of at least three examples. */
export function datasetContract(make: () => Promise<Dataset>): void {
  it('gives the examples that were asked for, in that order, twice if asked twice', async () => {
    const dataset = await make();
    const width = sizeOf(dataset.shape.slice(1));
    const one = async (index: number) => {
      const { x, y } = await dataset.read([index]);
      return { x: [...x.data], y: [...y.data] };
    };
    const [first, second, last] = [await one(0), await one(1), await one(dataset.shape[0]! - 1)];
    const { x, y } = await dataset.read([dataset.shape[0]! - 1, 0, 1, 0]);
    expect(x.shape).toEqual([4, ...dataset.shape.slice(1)]);
    expect(x.dtype).toBe(dataset.dtype);
    expect([...x.data]).toEqual([...last.x, ...first.x, ...second.x, ...first.x]);
    expect([...y.data]).toEqual([...last.y, ...first.y, ...second.y, ...first.y]);
    expect(x.data.length).toBe(4 * width);
  });

  it('reads nothing when nothing is asked for', async () => {
    const dataset = await make();
    const { x, y } = await dataset.read([]);
    expect(x.shape).toEqual([0, ...dataset.shape.slice(1)]);
    expect(y.shape[0]).toBe(0);
  });

  it.each([-1, 0.5, Number.NaN, 1e9])('refuses position %d and says which ones there are', async (index) => {
    const dataset = await make();
    await expect(dataset.read([0, index])).rejects.toMatchObject({
      code: 'argument',
      message: `${dataset.name} has no example ${index}: positions go from 0 to ${dataset.shape[0]! - 1}.`,
    });
  });

  it('answers overlapping reads independently', async () => {
    const dataset = await make();
    const [a, b] = await Promise.all([dataset.read([0, 1]), dataset.read([1, 0])]);
    const half = a.x.data.length / 2;
    expect([...a.x.data.subarray(0, half)]).toEqual([...b.x.data.subarray(half)]);
    expect([...a.x.data.subarray(half)]).toEqual([...b.x.data.subarray(0, half)]);
  });
}
