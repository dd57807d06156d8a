/** What `graft cache list|verify|prune` stand on. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listCaches, pruneCaches, verifyCache } from '../../src/features/index.ts';
import { flip, type Kept, keep, temporaryFolder } from './support.ts';

const day = 24 * 3600 * 1000;

/** Three caches, used three, two and one days ago. */
async function three(): Promise<{ folder: string; kept: Kept[] }> {
  const folder = await temporaryFolder();
  const kept: Kept[] = [];
  for (const [i, name] of ['oldest', 'middle', 'newest'].entries()) {
    const one = await keep(folder, { name, origin: { dataset: name } });
    const path = join(dirname(one.path(0)), 'meta.json');
    const meta = JSON.parse(await readFile(path, 'utf8')) as object;
    const lastUsed = new Date(Date.now() - (3 - i) * day).toISOString();
    await writeFile(path, JSON.stringify({ ...meta, lastUsed }));
    kept.push(one);
  }
  return { folder, kept };
}

const names = (records: readonly { meta: { dataset: string } | null }[]) =>
  records.map(({ meta }) => meta?.dataset);

describe('a list of caches', () => {
  it('shows what each is, what it takes, and when it was used, the last used first', async () => {
    const { folder, kept } = await three();
    await rm(kept[0]!.path(3));
    const records = await listCaches({ folder });
    expect(names(records)).toEqual(['newest', 'middle', 'oldest']);
    const [newest, , oldest] = records;
    const { plan } = kept[2]!;
    expect(newest).toMatchObject({
      key: plan.key,
      complete: true,
      present: 4,
      meta: {
        format: 1,
        dataset: 'newest',
        rows: 100,
        columns: plan.request.columns,
        bytes: plan.bytes(),
        shards: 4,
        shardRows: 32,
        origin: { frozen: 'abc', dataset: 'newest' },
        graft: expect.stringMatching(/^\d+\.\d+\.\d+/),
      },
    });
    expect(newest!.bytes).toBeGreaterThan(plan.bytes());
    expect(oldest).toMatchObject({ complete: false, present: 3 });
  });

  it('is empty where nothing is kept, and leaves out what is no cache', async () => {
    const folder = await temporaryFolder();
    expect(await listCaches({ folder })).toEqual([]);
    await mkdir(join(folder, 'features', 'notes'), { recursive: true });
    expect(await listCaches({ folder })).toEqual([]);
  });

  it('shows that features were used now, and when they were first computed', async () => {
    const { folder } = await three();
    const created = (await listCaches({ folder })).at(-1)!.meta!.created;
    await keep(folder, { name: 'oldest', origin: { dataset: 'oldest' } });
    const [first] = await listCaches({ folder });
    expect(first!.meta).toMatchObject({ dataset: 'oldest', created });
    expect(Date.now() - first!.lastUsed.getTime()).toBeLessThan(60_000);
  });

  it('shows a cache without its meta.json too', async () => {
    const { folder, kept } = await three();
    await rm(join(dirname(kept[1]!.path(0)), 'meta.json'));
    const record = (await listCaches({ folder })).find(({ key }) => key === kept[1]!.plan.key)!;
    expect(record).toMatchObject({ meta: null, complete: false, present: 4 });
  });
});

describe('verifying', () => {
  it('reads every byte and names the shards that are damaged or missing', async () => {
    const { folder, kept } = await three();
    await flip(kept[0]!.path(1), 50);
    await flip(kept[0]!.path(2), -1);
    await rm(kept[1]!.path(0));
    const seen: number[] = [];
    const results = await verifyCache('all', { folder, onShard: (done, total) => seen.push(done / total) });
    const summary = results.map(({ record, damaged, missing }) => [record.meta!.dataset, damaged, missing]);
    expect(summary).toEqual([
      ['newest', [], []],
      ['middle', [], [0]],
      ['oldest', [1, 2], []],
    ]);
    expect(seen.length).toBe(12);
    expect(seen.at(-1)).toBe(1);
  });

  it('takes the beginning of a key for the whole if it is clear which is meant', async () => {
    const { folder, kept } = await three();
    const [result] = await verifyCache(kept[2]!.plan.key.slice(0, 12), { folder });
    expect(result!.record.key).toBe(kept[2]!.plan.key);
    await expect(verifyCache('', { folder })).rejects.toThrow('3 caches have the key');
    await expect(verifyCache('xyz', { folder })).rejects.toMatchObject({
      code: 'argument',
      message: `No kept features have the key xyz in ${join(folder, 'features')}; graft cache list shows all keys.`,
    });
  });
});

describe('pruning', () => {
  const left = async (folder: string) => names(await listCaches({ folder }));

  it('removes what was not used since a date', async () => {
    const { folder } = await three();
    const removed = await pruneCaches({ folder, olderThan: new Date(Date.now() - 1.5 * day) });
    expect(names(removed)).toEqual(['middle', 'oldest']);
    expect(await left(folder)).toEqual(['newest']);
  });

  it('removes the least recently used until so many bytes are left', async () => {
    const { folder } = await three();
    const { bytes } = (await listCaches({ folder }))[0]!;
    expect(names(await pruneCaches({ folder, keepBytes: 2 * bytes + 50 }))).toEqual(['oldest']);
    expect(await left(folder)).toEqual(['newest', 'middle']);
    expect(names(await pruneCaches({ folder, keepBytes: 0 }))).toEqual(['newest', 'middle']);
  });

  it('removes all if told so, and what an interrupted removal left', async () => {
    const { folder } = await three();
    await mkdir(join(folder, 'features', `${'0'.repeat(32)}.host-1-0123abcd.gone`));
    expect((await pruneCaches({ folder, all: true })).length).toBe(3);
    expect(await readdir(join(folder, 'features'))).toEqual([]);
  });

  it('refuses to guess what to remove', async () => {
    await expect(pruneCaches({})).rejects.toThrow('Say what to remove: olderThan, keepBytes or all.');
  });
});
