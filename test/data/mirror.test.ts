import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { fetchAsset, type Progress } from '../../src/data/assets.node.ts';
import { redirected } from '../../src/data/download.node.ts';
import { reachAll } from '../../src/data/reach.node.ts';
import { noise, send, serve, sha256, temporaryFolder } from './support.ts';

const content = noise(10_000);
const asset = { id: 'a/b', url: 'http://127.0.0.1:1/never', file: 'official.bin', sha256: '0'.repeat(64) };
const entry = { id: 'a/b', file: 'repacked.bin', sha256: sha256(content), bytes: content.length };

async function folderMirror(manifest: unknown = { format: 1, assets: [entry] }): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'repacked.bin'), content);
  await writeFile(
    join(folder, 'manifest.json'),
    typeof manifest === 'string' ? manifest : JSON.stringify(manifest),
  );
  return folder;
}

// What is not told a mirror asks the publisher, whatever the environment of the tests says.
beforeEach(() => void vi.stubEnv('GRAFT_MIRROR', ''));

describe('a mirror folder', () => {
  it('gives its own file in place, checked against its manifest and not against the publisher', async () => {
    const mirror = await folderMirror();
    const cacheDir = await temporaryFolder();
    expect(await fetchAsset(asset, { mirror, cacheDir })).toBe(join(mirror, 'repacked.bin'));
    expect(await readdir(cacheDir)).toEqual(['verified']);
  });

  it('is hashed at the first use only', async () => {
    const mirror = await folderMirror();
    const cacheDir = await temporaryFolder();
    const phases: string[] = [];
    const onProgress = ({ phase }: Progress) => phases.push(phase);
    await fetchAsset(asset, { mirror, cacheDir, onProgress });
    expect(phases).toEqual(['verify']);
    await fetchAsset(asset, { mirror, cacheDir, onProgress });
    expect(phases).toEqual(['verify']);
  });

  it('may be named by GRAFT_MIRROR, which an option overrides', async () => {
    const [first, second] = [await folderMirror(), await folderMirror()];
    const cacheDir = await temporaryFolder();
    vi.stubEnv('GRAFT_MIRROR', first);
    try {
      expect(dirname(await fetchAsset(asset, { cacheDir }))).toBe(first);
      expect(dirname(await fetchAsset(asset, { cacheDir, mirror: second }))).toBe(second);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('without the asset is an error that lists what it has', async () => {
    const mirror = await folderMirror();
    await expect(fetchAsset({ ...asset, id: 'x' }, { mirror, cacheDir: mirror })).rejects.toMatchObject({
      code: 'file',
      message:
        `The mirror ${mirror} has no asset "x"; its manifest lists: a/b. Add the asset to manifest.json, ` +
        'or leave out --mirror and GRAFT_MIRROR to download from the publisher.',
    });
  });

  it('with a file that is not the recorded one is an error, also after it was right once', async () => {
    const mirror = await folderMirror();
    const cacheDir = await temporaryFolder();
    await fetchAsset(asset, { mirror, cacheDir });
    const changed = noise(10_000, 7);
    await writeFile(join(mirror, 'repacked.bin'), changed);
    await expect(fetchAsset(asset, { mirror, cacheDir })).rejects.toMatchObject({
      code: 'checksum',
      message: `${join(mirror, 'repacked.bin')} is not what the mirror's manifest says of "a/b": sha256 ${sha256(
        changed,
      )} came, ${sha256(content)} was expected (10000 bytes). Copy it again.`,
    });
  });

  it('that lacks a listed file, or any manifest, is an error that says what is missing', async () => {
    const cacheDir = await temporaryFolder();
    const lacking = await folderMirror({ format: 1, assets: [{ ...entry, file: 'gone.bin' }] });
    await expect(fetchAsset(asset, { mirror: lacking, cacheDir })).rejects.toMatchObject({
      code: 'file',
      message: `The mirror's manifest lists gone.bin for "a/b", but ${join(lacking, 'gone.bin')} is not there. Copy it again.`,
    });
    await expect(fetchAsset(asset, { mirror: cacheDir, cacheDir })).rejects.toThrow(
      /Cannot read .*manifest\.json: there is no such file\. A mirror is a folder or an http\(s\) address that holds/,
    );
  });

  it.each([
    ['{', 'is not valid JSON'],
    [
      `{ "format": 1, "assets": [{ "bytes": ${'['.repeat(9999)}${']'.repeat(9999)} }] }`,
      'nests deeper than 200',
    ],
    [[], 'expected the manifest of a mirror, { "format": 1, "assets": [ … ] }, got []'],
    [{ format: 2, assets: [] }, 'expected the manifest of a mirror'],
    [{ format: 1, assets: [3] }, 'assets[0] must be an object, got 3.'],
    [{ format: 1, assets: [{ ...entry, id: 1 }] }, 'assets[0].id must be text, got 1.'],
    [
      { format: 1, assets: [{ ...entry, sha256: 'abc' }] },
      'assets[0].sha256 must be 64 hexadecimal digits, got "abc".',
    ],
    [
      { format: 1, assets: [{ ...entry, bytes: -1 }] },
      'assets[0].bytes must be a whole number of at least 0, got -1.',
    ],
  ])('with the manifest %j is refused', async (manifest, message) => {
    const mirror = await folderMirror(manifest);
    await expect(fetchAsset(asset, { mirror, cacheDir: mirror })).rejects.toMatchObject({
      code: 'file',
      message: expect.stringContaining(message),
    });
  });

  it.each(['../secret', '/etc/passwd', 'a/../../b', 'http://elsewhere/x', '//elsewhere/x', 'C:\\x', ''])(
    'must not point outside itself: %j',
    async (file) => {
      const mirror = await folderMirror({ format: 1, assets: [{ ...entry, file }] });
      await expect(fetchAsset(asset, { mirror, cacheDir: mirror })).rejects.toThrow(
        `assets[0].file must be a path inside the mirror, such as "cifar/archive.tar.gz", got ${JSON.stringify(file)}.`,
      );
    },
  );
});

describe('a mirror on the web', () => {
  it('is read by its manifest and downloaded into the cache', async () => {
    const manifest = JSON.stringify({ format: 1, assets: [{ ...entry, file: 'sub/repacked.bin' }] });
    const server = await serve((request, response) => {
      if (request.url === '/m/manifest.json') response.end(manifest);
      else if (request.url === '/m/sub/repacked.bin') send(request, response, content);
      else response.writeHead(404).end();
    });
    const cacheDir = await temporaryFolder();
    const path = await fetchAsset(asset, { mirror: `${server.url}/m`, cacheDir });
    expect(path).toBe(join(cacheDir, 'assets', sha256(content).slice(0, 16), 'repacked.bin'));
    expect(sha256(await readFile(path))).toBe(sha256(content));
  });

  it('without a manifest is an error', async () => {
    const server = await serve((_, response) => void response.writeHead(404).end());
    const cacheDir = await temporaryFolder();
    await mkdir(cacheDir, { recursive: true });
    await expect(fetchAsset(asset, { mirror: server.url, cacheDir })).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining(`${server.url}/manifest.json answered with status 404`),
    });
  });
});

describe('addresses', () => {
  it('with a user name or password are refused, and not repeated', async () => {
    const mirror = 'http://somebody:s3cret@127.0.0.1:9/mirror';
    const cacheDir = await temporaryFolder();
    for (const ask of [
      () => fetchAsset(asset, { mirror, cacheDir }),
      () => reachAll([asset], mirror),
      () => fetchAsset({ ...asset, url: mirror }, { cacheDir }),
    ]) {
      const error = await ask().then(
        () => null,
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({ code: 'argument', message: expect.stringContaining('127.0.0.1:9') });
      expect((error as Error).message).not.toMatch(/somebody|s3cret/);
    }
  });

  it.each([
    ['https://a/x', 'http://a/x', 'redirects from https:// to http://a'],
    ['https://a/x', 'http://b/x', 'redirects from https:// to http://b'],
    ['https://a/x', 'file:///etc/passwd', 'redirects from https:// to file://'],
    ['http://a/x', 'data:text/plain,x', 'redirects from http:// to data://'],
    ['http://a/x', 'http://me:pw@b/x', 'to http://b with a user name'],
    ['https://a/x', null, 'does not say where to'],
    ['https://a/x', 'https://:99999999/', 'does not say where to'],
  ])('are not left from %s to %s', (from, to, sentence) => {
    expect(() => redirected(new URL(from), to)).toThrow(sentence);
    expect(() => redirected(new URL(from), to)).not.toThrow(/pw/);
  });

  it.each([
    ['http://a/x', 'https://b/y', 'https://b/y'],
    ['https://a/x/y', '../z', 'https://a/z'],
    ['http://a/x', '//b/z', 'http://b/z'],
  ])('are followed from %s to %s', (from, to, expected) => {
    expect(redirected(new URL(from), to).href).toBe(expected);
  });

  it('that redirect are followed to the file, a circle of them is not', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/a') response.writeHead(302, { location: '/b' }).end();
      else if (request.url === '/loop') response.writeHead(302, { location: '/loop' }).end();
      else send(request, response, content);
    });
    const of = { ...asset, sha256: sha256(content) };
    const path = await fetchAsset({ ...of, url: `${server.url}/a` }, { cacheDir: await temporaryFolder() });
    expect(sha256(await readFile(path))).toBe(of.sha256);
    await expect(
      fetchAsset({ ...of, url: `${server.url}/loop` }, { cacheDir: await temporaryFolder() }),
    ).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining('redirects more than 10 times'),
    });
  });

  it('that send more than the file has are cut off there', async () => {
    let sent = 0;
    const server = await serve((_, response) => {
      response.writeHead(200);
      const more = () => {
        while (sent < 1e9 && response.write(Buffer.alloc(100_000))) sent += 100_000;
      };
      response.on('drain', more);
      more();
    });
    const of = { ...asset, url: `${server.url}/endless`, sha256: sha256(content), bytes: 1_000_000 };
    await expect(fetchAsset(of, { cacheDir: await temporaryFolder() })).rejects.toMatchObject({
      code: 'checksum',
      message: expect.stringContaining('sends more than the 1000000 bytes that the file has'),
    });
    expect(sent).toBeLessThan(50e6);
  });
});
