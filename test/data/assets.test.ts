import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type Asset,
  fetchAsset,
  fetchSource,
  type Progress,
  resolveAsset,
} from '../../src/data/assets.node.ts';
import { noise, type Sending, send, serve, sha256, temporaryFolder } from './support.ts';

const content = noise(300_000);
const patience = { attempts: 3, delayMs: 1, stallMs: 400 };

function assetAt(url: string, changes: Partial<Asset> = {}): Asset {
  const known = { sha256: sha256(content), bytes: content.length };
  return { id: 'test/file', url: `${url}/file.bin`, file: 'file.bin', ...known, ...changes };
}

// These tests are about publishers; whoever runs them may have a mirror.
beforeEach(() => void vi.stubEnv('GRAFT_MIRROR', ''));
afterEach(() => void vi.unstubAllEnvs());

/** As fetchAsset, but impatient. */
async function fetchFast(asset: Asset, cacheDir: string, signal?: AbortSignal): Promise<string> {
  return fetchSource(await resolveAsset(asset), { cacheDir, signal }, patience);
}

/** A server of the content that sends it differently at each request; the last way stays. */
function serveInTurn(...turns: readonly (Sending | number)[]) {
  return serve((request, response, count) => {
    const turn = turns[Math.min(count, turns.length) - 1]!;
    if (typeof turn === 'number') response.writeHead(turn).end();
    else send(request, response, content, turn);
  });
}

const everything = async (folder: string) =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((e) => e.isFile())
    .map((e) => e.name);

describe('fetching an asset', () => {
  it('downloads it, checks it and keeps it, so that the second call needs no network', async () => {
    const server = await serveInTurn({});
    const cacheDir = await temporaryFolder();
    const path = await fetchAsset(assetAt(server.url), { cacheDir });
    expect(path).toBe(join(cacheDir, 'assets', sha256(content).slice(0, 16), 'file.bin'));
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(await fetchAsset(assetAt(server.url), { cacheDir })).toBe(path);
    expect(server.requests.length).toBe(1);
    expect(await readdir(dirname(path))).toEqual(['file.bin']);
  });

  it('reports download and verification in bytes', async () => {
    const server = await serveInTurn({});
    const seen: Progress[] = [];
    const requests: number[] = [];
    const onProgress = (progress: Progress) => {
      seen.push(progress);
      requests.push(server.requests.length);
    };
    await fetchAsset(assetAt(server.url), { cacheDir: await temporaryFolder(), onProgress });
    const total = content.length;
    const download = { phase: 'download', id: 'test/file', from: new URL(server.url).host };
    expect(seen[0]).toMatchObject({ ...download, done: 0 });
    expect(requests[0], 'whom it connects to is said before it does').toBe(0);
    expect(seen).toContainEqual({ ...download, done: total, total });
    expect(seen.at(-1)).toEqual({ phase: 'verify', id: 'test/file', done: total, total });
  });

  it('goes on where a broken connection stopped, within one call', async () => {
    const server = await serveInTurn({ breakAfter: 100_000 }, {});
    const path = await fetchFast(assetAt(server.url), await temporaryFolder());
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.ranges).toEqual([null, 'bytes=100000-']);
    expect(server.requests[1]!.headers['if-range']).toBe('"v1"');
  });

  it('goes on in a later call where an earlier one gave up', async () => {
    const server = await serveInTurn({ breakAfter: 50_000 }, 503, 503, 503, {});
    const cacheDir = await temporaryFolder();
    await expect(fetchFast(assetAt(server.url), cacheDir)).rejects.toMatchObject({
      code: 'network',
      message:
        `Downloading ${server.url}/file.bin failed: the server answered with status 503 (3 attempts). ` +
        '50000 of 300000 bytes are there; the next try goes on from them. ' +
        'Check the connection, or name a mirror with --mirror or GRAFT_MIRROR.',
    });
    expect(await everything(cacheDir)).toEqual(expect.arrayContaining(['data', 'validator']));
    expect(await everything(cacheDir)).not.toContain('file.bin');
    const path = await fetchFast(assetAt(server.url), cacheDir);
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.ranges).toEqual([null, 'bytes=50000-', 'bytes=50000-', 'bytes=50000-', 'bytes=50000-']);
  });

  it('counts only attempts that bring nothing new', async () => {
    const step = { breakAfter: 40_000 };
    const server = await serveInTurn(step, 503, step, 503, step, 503, step, 503, {});
    const path = await fetchFast(assetAt(server.url), await temporaryFolder());
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.ranges.at(-1)).toBe('bytes=160000-');
  });

  it('starts anew when the server ignores the range', async () => {
    const server = await serveInTurn({ breakAfter: 100_000 }, { ignoreRange: true });
    const path = await fetchFast(assetAt(server.url), await temporaryFolder());
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.ranges).toEqual([null, 'bytes=100000-']);
  });

  it('starts anew when the file changed on the server', async () => {
    const older = noise(200_000, 2);
    const server = await serve((request, response, count) => {
      if (count === 1) send(request, response, older, { etag: '"v0"', breakAfter: 70_000 });
      else send(request, response, content);
    });
    const path = await fetchFast(assetAt(server.url), await temporaryFolder());
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.requests.length).toBe(2);
  });

  it('starts anew, once, when what was resumed turns out wrong', async () => {
    const server = await serve((request, response, count) => {
      // Without a strong validator nothing warns the client that the beginning is another file's.
      const etag = 'W/"weak"';
      if (count === 1) send(request, response, noise(300_000, 9), { etag, breakAfter: 70_000 });
      else send(request, response, content, { etag });
    });
    const path = await fetchFast(assetAt(server.url), await temporaryFolder());
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.ranges).toEqual([null, 'bytes=70000-', null]);
    expect(server.requests[1]!.headers['if-range']).toBeUndefined();
  });

  it('starts anew when the server sends another range than the one asked for', async () => {
    const server = await serve((request, response, count) => {
      if (count === 1) send(request, response, content, { breakAfter: 70_000 });
      else if (count > 2) send(request, response, content);
      else response.writeHead(206, { 'content-range': 'bytes 10-299999/300000' }).end(content.subarray(10));
    });
    const path = await fetchFast(assetAt(server.url), await temporaryFolder());
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.ranges).toEqual([null, 'bytes=70000-', null]);
  });

  it('starts anew when more is there than the file has', async () => {
    const server = await serveInTurn({});
    const cacheDir = await temporaryFolder();
    const part = join(cacheDir, 'assets', sha256(content).slice(0, 16), 'file.bin.part');
    await mkdir(part, { recursive: true });
    await writeFile(join(part, 'data'), noise(300_001));
    const path = await fetchFast(assetAt(server.url), cacheDir);
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.ranges).toEqual([null]);
  });

  it('does not ask again for a part that is complete', async () => {
    const server = await serveInTurn({});
    const cacheDir = await temporaryFolder();
    const asset = assetAt(server.url);
    const part = join(cacheDir, 'assets', sha256(content).slice(0, 16), 'file.bin.part');
    await mkdir(part, { recursive: true });
    await writeFile(join(part, 'data'), content);
    await fetchFast(asset, cacheDir);
    expect(server.requests.length).toBe(0);
    // Without a recorded size the server has to be asked: it says that nothing is left (416).
    const { bytes: _, ...unsized } = { ...asset, sha256: sha256(content), file: 'other.bin' };
    const second = join(dirname(part), 'other.bin.part');
    await mkdir(second);
    await writeFile(join(second, 'data'), content);
    await fetchFast(unsized, cacheDir);
    expect(server.ranges).toEqual(['bytes=300000-']);
  });

  it('refuses other bytes, says both checksums, and keeps nothing', async () => {
    const other = noise(300_000, 5);
    const server = await serve((request, response) => send(request, response, other));
    const cacheDir = await temporaryFolder();
    await expect(fetchFast(assetAt(server.url), cacheDir)).rejects.toMatchObject({
      code: 'checksum',
      message: expect.stringContaining(
        `${server.url}/file.bin is not the file recorded for "test/file": sha256 ${sha256(other)} came, ` +
          `${sha256(content)} was expected (300000 bytes). What came was deleted.`,
      ),
    });
    expect(await everything(cacheDir)).toEqual([]);
    expect(server.requests.length).toBe(1);
  });

  it('refuses a file that is shorter than recorded without hashing it', async () => {
    const server = await serve((request, response) => send(request, response, content.subarray(0, 1000)));
    await expect(fetchFast(assetAt(server.url), await temporaryFolder())).rejects.toMatchObject({
      code: 'checksum',
      message: expect.stringContaining('1000 bytes came, 300000 were expected'),
    });
  });

  it('checks an MD5 where the publisher gives nothing better', async () => {
    const server = await serve((request, response) => send(request, response, Buffer.from('hello')));
    const asset = { id: 'a', url: server.url, file: 'a' };
    const cacheDir = await temporaryFolder();
    await fetchFast({ ...asset, md5: '5d41402abc4b2a76b9719d911017c592' }, cacheDir);
    await expect(fetchFast({ ...asset, md5: '0'.repeat(32) }, cacheDir)).rejects.toThrow(
      `md5 5d41402abc4b2a76b9719d911017c592 came, ${'0'.repeat(32)} was expected (5 bytes)`,
    );
  });

  it('checks the size alone where the publisher gives no checksum', async () => {
    const server = await serve((request, response) => send(request, response, Buffer.from('hello')));
    const asset = { id: 'a', url: server.url, file: 'a', checksum: null };
    const cacheDir = await temporaryFolder();
    await expect(fetchFast({ ...asset, bytes: 6 }, cacheDir)).rejects.toThrow(
      '5 bytes came, 6 were expected',
    );
    const path = await fetchFast({ ...asset, bytes: 5 }, cacheDir);
    expect(await readFile(path, 'utf8')).toBe('hello');
    await fetchFast({ ...asset, bytes: 5 }, cacheDir);
    expect(server.requests.length, 'the second comes from the cache').toBe(2);
  });

  it('does not try again when the server says no for good', async () => {
    const server = await serveInTurn(404);
    await expect(fetchFast(assetAt(server.url), await temporaryFolder())).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining(`${server.url}/file.bin answered with status 404`),
    });
    expect(server.requests.length).toBe(1);
  });

  it('gives up on a server that falls silent', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 300_000 }).write('x');
    });
    await expect(fetchFast(assetAt(server.url), await temporaryFolder())).rejects.toThrow(
      'nothing came for 0.4 s (3 attempts). 1 of 300000 bytes are there',
    );
  });

  it('says why a server cannot be reached', async () => {
    await expect(fetchFast(assetAt('http://127.0.0.1:1'), await temporaryFolder())).rejects.toMatchObject({
      code: 'network',
      message: expect.stringMatching(/failed: .*(ECONNREFUSED|bad port).* \(3 attempts\)/),
    });
  });

  it('stops when aborted and keeps what came', async () => {
    const abort = new AbortController();
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 300_000, etag: '"v1"' }).write(content.subarray(0, 5000));
      setTimeout(() => abort.abort(new Error('enough')), 50);
    });
    const cacheDir = await temporaryFolder();
    await expect(fetchFast(assetAt(server.url), cacheDir, abort.signal)).rejects.toThrow('enough');
    const [part] = await readdir(join(cacheDir, 'assets', sha256(content).slice(0, 16)));
    expect(part).toBe('file.bin.part');
    expect((await stat(join(cacheDir, 'assets', sha256(content).slice(0, 16), part!, 'data'))).size).toBe(
      5000,
    );
  });

  it('asked for many times at once gives every caller the right file and leaves no parts', async () => {
    const server = await serveInTurn({ breakAfter: 100_000 }, {}, { breakAfter: 10 }, {});
    const cacheDir = await temporaryFolder();
    const paths = await Promise.all(
      Array.from({ length: 6 }, () => fetchFast(assetAt(server.url), cacheDir)),
    );
    expect(new Set(paths).size).toBe(1);
    expect(sha256(await readFile(paths[0]!))).toBe(sha256(content));
    expect(await readdir(dirname(paths[0]!))).toEqual(['file.bin']);
  });

  it('replaces a file of the cache that was damaged', async () => {
    const server = await serveInTurn({});
    const cacheDir = await temporaryFolder();
    const path = await fetchFast(assetAt(server.url), cacheDir);
    await writeFile(path, noise(300_000, 3));
    expect(await fetchFast(assetAt(server.url), cacheDir)).toBe(path);
    expect(sha256(await readFile(path))).toBe(sha256(content));
    expect(server.requests.length).toBe(2);
  });

  it('hashes a file once and again only when it was touched', async () => {
    const server = await serveInTurn({});
    const cacheDir = await temporaryFolder();
    let verified = 0;
    const onProgress = ({ phase, done }: Progress) => {
      if (phase === 'verify' && done === content.length) verified++;
    };
    const path = await fetchAsset(assetAt(server.url), { cacheDir, onProgress });
    await fetchAsset(assetAt(server.url), { cacheDir, onProgress });
    expect(verified).toBe(1);
    await utimes(path, 1, 1);
    await fetchAsset(assetAt(server.url), { cacheDir, onProgress });
    expect(verified).toBe(2);
    expect(existsSync(join(cacheDir, 'verified'))).toBe(true);
  });
});
